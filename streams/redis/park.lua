-- Keep a request until its turn comes.
-- KEYS  record, log, watchers, mail
-- ARGV  request, published, due in ms or '', nonce of this call, retention_ms
-- Answers 1, or 0 if it must begin again: it has ended, is held by somebody, or was cancelled meanwhile.
local record, log, mail = KEYS[1], KEYS[2], KEYS[4]
local known = redis.call('HMGET', record, 'finished', 'until')
if known[1] or (known[2] and tonumber(known[2]) > now_ms()) or is_cancelled(mail) then
  return 0
end
redis.call('HSET', record, 'parked', ARGV[1], 'published', ARGV[2], 'due', ARGV[3], 'parked_as', ARGV[4])
expire(ARGV[5], record, log, mail)
return 1
