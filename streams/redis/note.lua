-- Note that a request is parked and to be looked at after a while.
-- KEYS  parked
-- ARGV  id, look_again_ms
return redis.call('ZADD', KEYS[1], whole(now_ms() + ARGV[2]), ARGV[1])
