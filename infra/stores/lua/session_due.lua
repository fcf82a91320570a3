-- List sessions whose end may have come.
-- KEYS  ends
-- ARGV  at most so many
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms(), 'LIMIT', 0, ARGV[1])
