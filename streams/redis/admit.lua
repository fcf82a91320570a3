-- Accept an execution once, or join the one that exists.
-- KEYS  record, log, watchers, mail, and where one script reaches all keys: requests
-- ARGV  reach, id, digest, tenant, language, session, created, queued,
--       retention_ms, inbox that follows or '', watch_ms, field of the body, body
-- Answers 'accepted', 'joined' or 'conflict' with the fields of the record.
local record, log, watchers, mail, requests = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local result = 'joined'
local digest = redis.call('HGET', record, 'digest')
if not digest then
  result = 'accepted'
  create(record, log, {digest = ARGV[3], tenant = ARGV[4], language = ARGV[5], session = ARGV[6],
    created = ARGV[7], queued = ARGV[8]})
  expire(ARGV[9], record, log, mail)
elseif digest ~= ARGV[3] then
  result = 'conflict'
end

local told = {}
if result == 'accepted' then
  told = tell(watchers, ARGV[1], news(ARGV[2], 1, {ARGV[8]}, '1'))
end
if ARGV[10] ~= '' and result ~= 'conflict' then
  redis.call('ZADD', watchers, whole(now_ms() + ARGV[11]), ARGV[10])
  redis.call('PEXPIRE', watchers, ARGV[11])
end

local fields = redis.call('HMGET', record, 'tenant', 'language', 'session', 'created', 'started', 'finished', 'seq')
local waits = result ~= 'conflict' and not fields[5] and not fields[6]
if requests and waits then
  redis.call('XADD', requests, '*', ARGV[12], ARGV[13])
end
return {result, waits and 1 or 0, fields, told}
