-- List sessions whose end may have come.
-- KEYS  ends
-- ARGV  at most so many
-- Answers each with when it was to be looked at, 0 if somebody ended it.
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms(), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
