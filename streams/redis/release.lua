-- Let a lease go as if its attempt had never been. The token moves on, so that nothing more can be written.
-- KEYS  record, log, watchers, mail
-- ARGV  token
-- Answers 1, or 0 if the lease is lost.
local known = redis.call('HMGET', KEYS[1], 'token', 'finished')
if known[1] ~= ARGV[1] or known[2] then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'token', 1)
redis.call('HINCRBY', KEYS[1], 'attempt', -1)
redis.call('HSET', KEYS[1], 'until', 0)
return 1
