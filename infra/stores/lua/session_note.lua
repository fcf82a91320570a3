-- Note when to look whether a session has ended.
-- KEYS  ends
-- ARGV  session, ms from now; or '' if somebody ended it, which is noted as 0
local look_at = ARGV[2] ~= '' and now_ms() + ARGV[2] or 0
return redis.call('ZADD', KEYS[1], look_at, ARGV[1])
