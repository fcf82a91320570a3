-- Read a session's state, which is a use of it; whoever claims it alone may save it until another claims it.
-- KEYS  state
-- ARGV  who claims it, or '', TTL in ms, ETag of what need not be sent ('*' of everything)
-- Answers {ETag, bytes, when saved in ms, data}, each false where there is no state; the data also where it need
-- not be sent.
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'claim', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'etag', 'size', 'saved')
local data = known[1] and known[1] ~= ARGV[3] and ARGV[3] ~= '*' and redis.call('HGET', KEYS[1], 'data')
return {known[1], known[2], known[3], data}
