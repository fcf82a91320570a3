-- Keep a lease, and everything of its execution, for another while.
-- KEYS  record, log, watchers, mail
-- ARGV  token, lease_ms, retention_ms, attempt
-- Answers 1, or 0 if the lease is lost.
local known = redis.call('HMGET', KEYS[1], 'token', 'finished')
if known[1] ~= ARGV[1] or known[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', whole(now_ms() + ARGV[2]), 'attempt', ARGV[4])
expire(ARGV[3], KEYS[1], KEYS[2], KEYS[4])
return 1
