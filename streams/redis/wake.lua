-- Publish a parked request again, and forget that it was parked.
-- KEYS  record, and where one script reaches all keys: requests, parked
-- ARGV  id; where it does not, also: nonce of the park that is over, entry the request was published as
-- Answers 1, or 0 if it was not parked.
local record, requests = KEYS[1], KEYS[2]
local known = redis.call('HMGET', record, 'parked_as', 'parked', 'published')
if not known[1] or (not requests and known[1] ~= ARGV[2]) then
  return 0
end
local entry = ARGV[3]
if requests then
  entry = redis.call('XADD', requests, '*', 'data', known[2], 'published', known[3])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
redis.call('HDEL', record, 'parked', 'published', 'due', 'parked_as')
local held = redis.call('HGET', record, 'until')
if not held or tonumber(held) <= now_ms() then  -- else it is known under the entry that holds it
  redis.call('HSET', record, 'entry', entry)
end
return 1
