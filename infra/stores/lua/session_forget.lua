-- Forget a session of an owner that was not used for a while.
-- KEYS  sessions of the owner, when they were opened
-- ARGV  id, how long in ms
local used = redis.call('ZSCORE', KEYS[1], ARGV[1])
if used and tonumber(used) <= now_ms() - ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return 1
