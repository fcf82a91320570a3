-- How an execution stands that is in a line, for whoever looks after the line. What is parked is kept.
-- KEYS  record, log, watchers, mail
-- ARGV  lease_ms, retention_ms
-- Answers {state, newest entry or '', tenant, session, whether it need not wait for its turn}; the state is
-- 'unknown', 'finished', 'parked', 'held' (now, or until less than a lease ago) or 'free'.
local record, log, mail = KEYS[1], KEYS[2], KEYS[4]
local known = redis.call('HMGET', record, 'token', 'finished', 'parked_as', 'until', 'entry', 'tenant', 'session', 'due')
local now = now_ms()
local state, urgent = 'free', false
if not known[1] then
  state = 'unknown'
elseif known[2] then
  state = 'finished'
elseif known[3] then
  state = 'parked'
  urgent = is_past(known[8], now) or is_cancelled(mail)
  expire(ARGV[2], record, log, mail)
elseif known[4] and tonumber(known[4]) + ARGV[1] > now then
  state = 'held'
end
return {state, known[5] or '', known[6] or '', known[7] or '', urgent and 1 or 0}
