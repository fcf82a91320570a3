-- Take the lease of an execution, or say why not. An entry published by a bare XADD has no record yet.
-- Where nothing was said of it but that it is queued, `started` is written in the same step.
-- KEYS  record, log, watchers, mail, and to take a turn where one script reaches all keys: line, requests, lanes
-- ARGV  reach, id, digest, tenant, language, session, created, queued,
--       retention_ms, lease_ms, entry, nonce of this call, whose turn it is where it does not, or '',
--       deadline in ms or '', `started` or '', its time
-- Answers {'begun', token, attempt, seq, started before, told, overdue, mail, watched, started now}, {'ended', settled},
-- {'held', entry}, {'taken'}, or {'waits', told} if it is the turn of another execution of its session.
-- Those told are to be told the newest event, and `queued` before it if there was no record.
local record, log, watchers, mail, line, requests = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local fresh = {}
local function known_now()
  return redis.call('HMGET', record, 'digest', 'finished', 'settled', 'until', 'entry', 'nonce',
    'token', 'attempt', 'seq', 'started', 'overdue', 'bytes', 'parked_as')
end
local known = known_now()
if not known[1] then
  create(record, log, {digest = ARGV[3], tenant = ARGV[4], language = ARGV[5], session = ARGV[6],
    created = ARGV[7], queued = ARGV[8]})
  fresh[1] = ARGV[8]
  known = known_now()
end
if known[1] ~= ARGV[3] then
  return {'taken'}
end
if known[2] then
  return {'ended', known[3] and 1 or 0}
end

local function told_of(live, last)
  if #fresh == 0 then
    return {}
  end
  return tell_all(live, ARGV[1], news(ARGV[2], last - #fresh + 1, fresh, '1'))
end

local now = now_ms()
local token, attempt, seq, overdue = tonumber(known[7]), tonumber(known[8]), tonumber(known[9]), known[11] == '1'
local repeated = known[6] == ARGV[12]  -- of this very call, whose answer was lost
if not repeated then
  if known[4] and tonumber(known[4]) > now then
    redis.call('HSET', record, 'other', ARGV[11])  -- `finish` takes it along, should it not give way
    return {'held', known[5]}
  end
  local first = ARGV[13]
  overdue = false
  if line then
    local places = earlier(requests, KEYS[7], ARGV[11], ARGV[4], ARGV[6])
    places[#places + 1] = place(ARGV[11])
    places[#places + 1] = ARGV[2]
    first = join(line, places, ARGV[9])
  end
  if first ~= '' and first ~= ARGV[2] then
    overdue = not known[10] and is_past(ARGV[14], now)
    if not overdue and not is_cancelled(mail) then
      return {'waits', told_of(watching(watchers), seq)}
    end
  end
  token, attempt = token + 1, attempt + 1
end

local commands = redis.call('HGETALL', mail)
local starts = ARGV[15] ~= '' and attempt == 1 and not overdue
if repeated then
  starts = starts and known[10] == ARGV[16]
else
  starts = starts and seq == 1 and #commands == 0
end
local fields = {'token', token, 'attempt', attempt, 'entry', ARGV[11], 'nonce', ARGV[12],
  'until', whole(now + ARGV[10]), 'overdue', overdue and 1 or 0}
if starts and not repeated then
  write(log, 2, {ARGV[15]})
  fresh[#fresh + 1] = ARGV[15]
  seq = 2
  for _, field in ipairs({'started', ARGV[16], 'seq', 2, 'bytes', whole(known[12] + #ARGV[15])}) do
    fields[#fields + 1] = field
  end
end
redis.call('HSET', record, unpack(fields))
-- Where the entry is gone already, what was parked is all there is, and is kept; so it is where nobody can tell.
if known[13] and line and #redis.call('XRANGE', requests, ARGV[11], ARGV[11]) == 1 then
  redis.call('HDEL', record, 'parked', 'published', 'due', 'parked_as')
end
-- What was published just now is kept for long enough; renewing and the end keep it for longer.
if redis.call('PTTL', record) < ARGV[9] / 2 then
  expire(ARGV[9], record, log)
end
if commands[1] then
  expire(ARGV[9], mail)
end
local live = watching(watchers)
return {'begun', token, attempt, seq, known[10] and not starts and 1 or 0, told_of(live, seq), overdue and 1 or 0,
  commands, #live > 0 and 1 or 0, starts and 1 or 0}
