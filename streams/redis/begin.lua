-- Take the lease of an execution, or say why not. An entry published by a bare XADD has no record yet.
-- KEYS  record, log, watchers, mail
-- ARGV  reach, inbox_entries_max, inbox_ms, id, digest, tenant, language, session, created, queued,
--       retention_ms, lease_ms, entry, nonce of this call
-- Answers {'begun', token, attempt, seq, started, told}, {'ended', settled}, {'held', entry} or {'taken'}.
local record, log, watchers, mail = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local told = {}
if redis.call('EXISTS', record) == 0 then
  create(record, log, {digest = ARGV[5], tenant = ARGV[6], language = ARGV[7], session = ARGV[8],
    created = ARGV[9], queued = ARGV[10]})
  told = tell(watchers, ARGV[1], news(ARGV[4], 1, {ARGV[10]}, '1'), ARGV[2], ARGV[3])
end

local known = redis.call('HMGET', record, 'digest', 'finished', 'settled', 'until', 'entry', 'nonce',
  'token', 'attempt', 'seq', 'started')
if known[1] ~= ARGV[5] then
  return {'taken'}
end
if known[2] then
  return {'ended', known[3] and 1 or 0}
end

local now = now_ms()
local token, attempt = tonumber(known[7]), tonumber(known[8])
if known[6] ~= ARGV[14] then  -- else a repeat of this very call, whose answer was lost
  if known[4] and tonumber(known[4]) > now then
    return {'held', known[5]}
  end
  token, attempt = token + 1, attempt + 1
end
redis.call('HSET', record, 'token', token, 'attempt', attempt, 'entry', ARGV[13], 'nonce', ARGV[14],
  'until', whole(now + ARGV[12]))
expire(ARGV[11], record, log, mail)
return {'begun', token, attempt, tonumber(known[9]), known[10] and 1 or 0, told}
