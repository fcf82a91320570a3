-- Take the lease of an execution, or say why not. An entry published by a bare XADD has no record yet.
-- KEYS  record, log, watchers, mail, and to take a turn where one script reaches all keys: line, requests, lanes
-- ARGV  reach, id, digest, tenant, language, session, created, queued,
--       retention_ms, lease_ms, entry, nonce of this call, whose turn it is where it does not, or '',
--       deadline in ms or ''
-- Answers {'begun', token, attempt, seq, started, told, overdue, mail, watched}, {'ended', settled}, {'held', entry}, {'taken'},
-- or {'waits', told} if it is the turn of another execution of its session.
local record, log, watchers, mail, line, requests = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local told = {}
if redis.call('EXISTS', record) == 0 then
  create(record, log, {digest = ARGV[3], tenant = ARGV[4], language = ARGV[5], session = ARGV[6],
    created = ARGV[7], queued = ARGV[8]})
  told = tell(watchers, ARGV[1], news(ARGV[2], 1, {ARGV[8]}, '1'))
end

local known = redis.call('HMGET', record, 'digest', 'finished', 'settled', 'until', 'entry', 'nonce',
  'token', 'attempt', 'seq', 'started', 'overdue')
if known[1] ~= ARGV[3] then
  return {'taken'}
end
if known[2] then
  return {'ended', known[3] and 1 or 0}
end

local now = now_ms()
local token, attempt, overdue = tonumber(known[7]), tonumber(known[8]), known[11] == '1'
if known[6] ~= ARGV[12] then  -- else a repeat of this very call, whose answer was lost
  if known[4] and tonumber(known[4]) > now then
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
      return {'waits', told}
    end
  end
  token, attempt = token + 1, attempt + 1
end
redis.call('HSET', record, 'token', token, 'attempt', attempt, 'entry', ARGV[11], 'nonce', ARGV[12],
  'until', whole(now + ARGV[10]), 'overdue', overdue and 1 or 0)
-- Where the entry is gone already, what was parked is all there is, and is kept; so it is where nobody can tell.
if line and #redis.call('XRANGE', requests, ARGV[11], ARGV[11]) == 1 then
  redis.call('HDEL', record, 'parked', 'published', 'due', 'parked_as')
end
expire(ARGV[9], record, log, mail)
return {'begun', token, attempt, tonumber(known[9]), known[10] and 1 or 0, told, overdue and 1 or 0,
  redis.call('HGETALL', mail), #watching(watchers) > 0 and 1 or 0}
