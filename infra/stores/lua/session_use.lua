-- Use a session of an owner, and open it if it is not there, as long as there are not too many.
-- KEYS  sessions of the owner, when they were opened
-- ARGV  id, TTL in ms, at most so many; or '' not to open it
-- Answers {when it was opened, now}, both in ms, or 'full'; or 'absent'.
local now = now_ms()
local used = redis.call('ZSCORE', KEYS[1], ARGV[1])
local alive_since = now - ARGV[2]
if not used or tonumber(used) <= alive_since then
  if ARGV[3] == '' then
    return 'absent'
  end
  if redis.call('ZCOUNT', KEYS[1], '(' .. alive_since, '+inf') >= tonumber(ARGV[3]) then
    return 'full'
  end
  redis.call('HSET', KEYS[2], ARGV[1], now)
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
redis.call('PEXPIRE', KEYS[2], 2 * ARGV[2])
return { tonumber(redis.call('HGET', KEYS[2], ARGV[1])), now }
