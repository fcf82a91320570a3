-- Accept an execution once, or join the one that exists.
-- KEYS  record, log, watchers, mail, and where one script reaches all keys: requests, lanes
-- ARGV  reach, id, digest, tenant, language, session, created, queued,
--       retention_ms, watch_ms, field of the body, body, priority, then who watches, as in `watch`
-- Answers {'accepted', 'joined' or 'conflict', whether it waits, fields of the record, told, queued}.

-- The place in its lane that a request gets now. What is not sorted yet counts, whosever it is.
local function position(requests, lanes, priority, tenant)
  local present = redis.call('XLEN', requests)
  if present == 0 then
    return '1'
  end
  local held = redis.pcall('XPENDING', requests, GROUP)[1]  -- nothing where there is no group yet
  local unsorted = present - (tonumber(held) or 0) - redis.call('HEXISTS', lanes, 'bell')
  return whole(math.max(0, unsorted) + redis.call('LLEN', lanes .. ':' .. priority .. ':' .. tenant) + 1)
end

local record, log, watchers, requests = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local result, queued, told, watched_from = 'joined', ARGV[8], {}, 14
local fields = redis.call('HMGET', record, 'tenant', 'language', 'session', 'created', 'started', 'finished', 'seq',
  'digest')
if not fields[8] then
  result = 'accepted'
  if requests then
    queued = string.sub(queued, 1, -2) .. ',"position":' .. position(requests, KEYS[6], ARGV[13], ARGV[4]) .. '}'
  end
  local more = {}
  if #ARGV == 14 and string.byte(ARGV[14]) == 0 then  -- one that only waits for the end is noted in the record
    more, watched_from = {'ends', ARGV[14]}, 15
  end
  create(record, log, {digest = ARGV[3], tenant = ARGV[4], language = ARGV[5], session = ARGV[6],
    created = ARGV[7], queued = queued, more = more})
  expire(ARGV[9], record, log)
  told = tell(watchers, ARGV[1], news(ARGV[2], 1, {queued}, '1'))
  fields = {ARGV[4], ARGV[5], ARGV[6], ARGV[7], false, false, '1'}
elseif fields[8] ~= ARGV[3] then
  result, watched_from = 'conflict', #ARGV + 1
end

for index = watched_from, #ARGV do
  redis.call('ZADD', watchers, whole(now_ms() + ARGV[10]), ARGV[index])
  redis.call('PEXPIRE', watchers, ARGV[10])
end
local waits = result ~= 'conflict' and not fields[5] and not fields[6]
if requests and waits then
  redis.call('XADD', requests, '*', ARGV[11], ARGV[12])
end
return {result, waits and 1 or 0, {unpack(fields, 1, 7)}, told, queued}
