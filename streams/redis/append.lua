-- Write events to a log if the lease is still held and they are the next ones; all or none.
-- KEYS  record, log, watchers, mail
-- ARGV  reach, id, token, seq before, started or '', inline,
--       entries_max, bytes_max (both '' for events that always get in), then the events
-- Answers {'written', told}, {'lost'}, {'full'} or {'misnumbered', seq}.
local record, log, watchers = KEYS[1], KEYS[2], KEYS[3]
local before = tonumber(ARGV[4])
local events, bytes = {}, 0
for index = 9, #ARGV do
  events[#events + 1] = ARGV[index]
  bytes = bytes + #ARGV[index]
end

local known = redis.call('HMGET', record, 'token', 'finished', 'seq', 'bytes')
if known[1] ~= ARGV[3] or known[2] then
  return {'lost'}
end
if not is_written(log, known[3], before + #events, events[#events]) then
  if tonumber(known[3]) ~= before then
    return {'misnumbered', tonumber(known[3])}
  end
  bytes = bytes + tonumber(known[4])
  if ARGV[7] ~= '' and (before + #events > tonumber(ARGV[7]) or bytes > tonumber(ARGV[8])) then
    return {'full'}
  end
  write(log, before + 1, events)
  local started = ARGV[5] ~= '' and {'started', ARGV[5]} or {}
  redis.call('HSET', record, 'seq', before + #events, 'bytes', whole(bytes), unpack(started))
end
return {'written', tell(watchers, ARGV[1], news(ARGV[2], before + 1, events, ARGV[6]))}
