-- Let an inbox hear of an execution for a while, known or not yet.
-- KEYS  record, log, watchers, mail
-- ARGV  inbox, after a NUL if only the end matters to it; watch_ms
-- Answers {seq of the last event in the log, or 0 if the execution is not known; whether it is finished}.
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', whole(now))
redis.call('ZADD', KEYS[3], whole(now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'seq', 'finished')
return {tonumber(known[1] or 0), known[2] and 1 or 0}
