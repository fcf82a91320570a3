-- Accept an execution once, or join the one that exists.
-- KEYS  record, log, watchers, mail, and where one script reaches all keys: requests, lanes
-- ARGV  reach, id, digest, tenant, language, session, created, queued,
--       retention_ms, watch_ms, field of the body, body, priority, then who watches, as in `watch`
-- Answers {'accepted', 'joined' or 'conflict', whether it waits, fields of the record, told, queued}.

-- The place in its lane that a request gets now. What is not sorted yet counts, whosever it is.
local function position(requests, lanes, priority, tenant)
  local held = redis.pcall('XPENDING', requests, GROUP)[1]  -- nothing where there is no group yet
  local unsorted = redis.call('XLEN', requests) - (tonumber(held) or 0) - redis.call('HEXISTS', lanes, 'bell')
  return whole(math.max(0, unsorted) + redis.call('LLEN', lanes .. ':' .. priority .. ':' .. tenant) + 1)
end

local record, log, watchers, mail, requests = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local result, queued = 'joined', ARGV[8]
local digest = redis.call('HGET', record, 'digest')
if not digest then
  result = 'accepted'
  if requests then
    queued = string.sub(queued, 1, -2) .. ',"position":' .. position(requests, KEYS[6], ARGV[13], ARGV[4]) .. '}'
  end
  create(record, log, {digest = ARGV[3], tenant = ARGV[4], language = ARGV[5], session = ARGV[6],
    created = ARGV[7], queued = queued})
  expire(ARGV[9], record, log, mail)
elseif digest ~= ARGV[3] then
  result = 'conflict'
end

local told = {}
if result == 'accepted' then
  told = tell(watchers, ARGV[1], news(ARGV[2], 1, {queued}, '1'))
end
if result ~= 'conflict' then
  for index = 14, #ARGV do
    redis.call('ZADD', watchers, whole(now_ms() + ARGV[10]), ARGV[index])
    redis.call('PEXPIRE', watchers, ARGV[10])
  end
end

local fields = redis.call('HMGET', record, 'tenant', 'language', 'session', 'created', 'started', 'finished', 'seq')
local waits = result ~= 'conflict' and not fields[5] and not fields[6]
if requests and waits then
  redis.call('XADD', requests, '*', ARGV[11], ARGV[12])
end
return {result, waits and 1 or 0, fields, told, queued}
