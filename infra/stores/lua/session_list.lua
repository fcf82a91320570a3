-- List the live sessions of an owner, or find one; the last used first. No use of them.
-- KEYS  sessions of the owner, when they were opened
-- ARGV  TTL in ms, id or '', how many to skip, how many at most
-- Answers how many there are, now, then of each: id, when it was opened, when it was last used, in ms.
local now = now_ms()
local alive_since = '(' .. (now - ARGV[1])
local found = { redis.call('ZCOUNT', KEYS[1], alive_since, '+inf'), now }
local page
if ARGV[2] ~= '' then
  local used = redis.call('ZSCORE', KEYS[1], ARGV[2])
  page = used and tonumber(used) > now - ARGV[1] and { ARGV[2], used } or {}
else
  page = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', alive_since, 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[4])
end
for index = 1, #page, 2 do
  found[#found + 1] = page[index]
  found[#found + 1] = tonumber(redis.call('HGET', KEYS[2], page[index]) or page[index + 1])
  found[#found + 1] = tonumber(page[index + 1])
end
return found
