-- Note when to look whether a session has ended.
-- KEYS  ends
-- ARGV  session, ms from now
return redis.call('ZADD', KEYS[1], now_ms() + ARGV[2], ARGV[1])
