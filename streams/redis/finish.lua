-- Write the last events of an execution and end it, whatever the bounds. Where one script reaches all keys
-- (reach 'all') the result, the reply and the acknowledgement are part of it.
-- KEYS  record, log, watchers, mail, and with reach 'all': results, requests, reply (if any), line (if any)
-- ARGV  reach, id, token, seq before, time, inline, retention_ms, group, entry,
--       results_max, result, whether there is a line, entries and bytes of a log that is told whole,
--       then the events, `finished` last
-- Answers {'written', told, fault of the reply or '', who is first in line now or '', another entry or ''},
-- {'lost'} or {'misnumbered', seq}.
local record, log, watchers, mail = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local line = ARGV[12] == '1' and KEYS[#KEYS]
local reply = #KEYS - ARGV[12] >= 7 and KEYS[7]
local before = tonumber(ARGV[4])
local events = {}
for index = 15, #ARGV do
  events[#events + 1] = ARGV[index]
end

-- The whole log as one message where it is small, else how far it goes.
local function story(bytes)
  local last = before + #events
  for _, event in ipairs(events) do
    bytes = bytes + #event
  end
  local told = {}
  if last <= tonumber(ARGV[13]) and bytes <= tonumber(ARGV[14]) then
    for index, entry in ipairs(redis.call('XRANGE', log, '-', '+')) do
      told[index] = entry[2][2]
    end
  end
  return #told == last and news(ARGV[2], 1, told, '1') or news(ARGV[2], before + 1, events, '0')
end

-- Tell those who watch the last events, and those who only wait for the end all of them.
local function tell_the_end(bytes, ends)
  local live, waiting = watching(watchers, ends)
  if ARGV[1] == 'slot' then
    for _, inbox in ipairs(waiting) do
      live[#live + 1] = inbox
    end
    return live
  end
  for _, inbox in ipairs(waiting) do
    put(inbox, story(bytes))
  end
  for _, inbox in ipairs(live) do
    put(inbox, news(ARGV[2], before + 1, events, ARGV[6]))
  end
  return {}
end

local known = redis.call('HMGET', record, 'token', 'finished', 'seq', 'bytes', 'ends', 'other')
if known[1] ~= ARGV[3] then
  return {'lost'}
end
if is_written(log, known[3], before + #events, events[#events]) then
  return {'written', {}, '', line and leave(line, ARGV[2]) or '', known[6] or ''}
end
if known[2] then
  return {'lost'}
end
if tonumber(known[3]) ~= before then
  return {'misnumbered', tonumber(known[3])}
end

-- The result first: should it be refused, nothing has ended yet, and all of it is done again.
local fault, settled = '', {}
if ARGV[1] == 'all' then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[10], '*', 'data', ARGV[11])
  if reply then  -- a name of the publisher's choice, which may be anything
    local answer = redis.pcall('XADD', reply, 'MAXLEN', '~', ARGV[10], '*', 'data', events[#events])
    fault = type(answer) == 'table' and answer.err or ''
  end
  settled = {'settled', 1}
end
write(log, before + 1, events)
redis.call('HSET', record, 'seq', before + #events, 'finished', ARGV[5], unpack(settled))
expire(ARGV[7], record, log)
if ARGV[1] == 'all' then
  for _, entry in ipairs({ARGV[9], known[6] or nil}) do
    redis.call('XACK', KEYS[6], ARGV[8], entry)
    redis.call('XDEL', KEYS[6], entry)
  end
end
local told = tell_the_end(known[4], known[5])
return {'written', told, fault, line and leave(line, ARGV[2]) or '', known[6] or ''}
