-- Put before scripts that deal with lanes (streams/lanes.py): what waits for a slot, sorted by priority and tenant.
-- An entry that waits stays on the requests, pending for the consumer `waiting`, which is nobody; lanes hold ids.
-- All keys begin with that of the requests, as their hash tag, so that one script reaches them on a cluster.
--   lanes                         hash: how many wait (by priority), marks, the bell
--   lanes:order:<priority>        sorted set: tenants that wait, by mark
--   lanes:ahead:<priority>        sorted set: tenants that wait no more and whose mark is still ahead
--   lanes:tenants                 sorted set: tenants by how much they have waiting
--   lanes:idle                    set: consumers that had slots free when nothing waited; one may have got busy since
--   lanes:<priority>:<tenant>     list: `<entry>`, or `<entry> <session> <execution>` for a member of a session
--   lanes:session:<tenant>:<id>   sorted set: executions of a session that wait, by place

local BATCH_EVERY = 8
local STEP = 1 / 64
local SORT_MAX = 256
local SORT_BYTES_MAX = 4 * 1024 * 1024
local DECODE_BYTES_MAX = 1024 * 1024
local SESSION_MS = 7 * 86400 * 1000  -- what is left here by an accident expires; nothing waits for so long

local function exact(number)
  return string.format('%.17g', number)
end

-- What is read of a request. A large one is not decoded: its fields are looked for, which can only misplace it.
local function head_of(body)
  if #body <= DECODE_BYTES_MAX then
    return decode(body)
  end
  local head = {}
  for _, name in ipairs({'tenant', 'priority', 'session_id', 'id'}) do
    head[name] = string.match(body, '"' .. name .. '"%s*:%s*"([%w_.:%-]+)"')
  end
  return head
end

local function is_name(value, pattern)
  return type(value) == 'string' and #value <= 128 and string.match(value, pattern) ~= nil
end

local function lane_key(lanes, priority, tenant)
  return lanes .. ':' .. priority .. ':' .. tenant
end

local function session_key(lanes, tenant, session)
  return lanes .. ':session:' .. tenant .. ':' .. session
end

-- Put an item at the end of its lane. A lane that comes anew gets a mark just above the one served last.
local function add(lanes, priority, tenant, item)
  redis.call('RPUSH', lane_key(lanes, priority, tenant), item)
  if not redis.call('ZSCORE', lanes .. ':order:' .. priority, tenant) then
    local ahead = lanes .. ':ahead:' .. priority
    local known = redis.call('HMGET', lanes, 'served:' .. priority, 'newest:' .. priority)
    local served = tonumber(known[1] or 0)
    local mark = tonumber(redis.call('ZSCORE', ahead, tenant) or 0)
    redis.call('ZREM', ahead, tenant)
    if mark <= served then
      mark = math.max(tonumber(known[2] or 0), served) + STEP
      redis.call('HSET', lanes, 'newest:' .. priority, exact(mark))
    end
    redis.call('ZADD', lanes .. ':order:' .. priority, exact(mark), tenant)
  end
  redis.call('HINCRBY', lanes, priority, 1)
  redis.call('ZINCRBY', lanes .. ':tenants', 1, tenant)
end

-- Put an entry into its lane.
local function file(lanes, id, body)
  local head = head_of(body)
  local tenant = is_name(head.tenant, '^[%w_.:%-]+$') and head.tenant or 'default'
  local priority = head.priority == 'batch' and 'batch' or 'interactive'
  local item = id
  if is_name(head.session_id, '^[%w_%-]+$') and head.session_id ~= head.id then
    local key = session_key(lanes, tenant, head.session_id)
    local execution = type(head.id) == 'string' and head.id or 'entry-' .. id
    redis.call('ZADD', key, 'NX', place(id), execution)
    redis.call('PEXPIRE', key, SESSION_MS)
    item = id .. ' ' .. head.session_id .. ' ' .. execution
  end
  add(lanes, priority, tenant, item)
end

local function silence(requests, lanes, id)
  redis.call('XACK', requests, GROUP, id)
  redis.call('XDEL', requests, id)
  if redis.call('HGET', lanes, 'bell') == id then
    redis.call('HDEL', lanes, 'bell')
  end
end

-- Sort what nobody was handed yet into lanes, so much at a time; answers whether there may be more.
local function sort(requests, lanes)
  local sorted, bytes, batch = 0, 0, 1
  while sorted < SORT_MAX and bytes < SORT_BYTES_MAX do
    local answer = redis.call('XREADGROUP', 'GROUP', GROUP, WAITING, 'COUNT', batch, 'STREAMS', requests, '>')
    local entries = answer and answer[1][2] or {}
    local read = 0
    for _, entry in ipairs(entries) do
      if field_of(entry[2], 'bell') then
        silence(requests, lanes, entry[1])
      else
        local body = data_of(entry[2]) or ''
        read = read + #body
        file(lanes, entry[1], body)
      end
    end
    if #entries < batch then
      return false
    end
    sorted, bytes = sorted + #entries, bytes + read
    -- How large the next ones are is not known before they are read.
    batch = read < 16384 * #entries and math.min(batch * 2, 64) or 1
  end
  return true
end

-- Take the first of the lane that is served next; answers its entry, or nil if there is none.
local function take_first(lanes, priority)
  local order, ahead = lanes .. ':order:' .. priority, lanes .. ':ahead:' .. priority
  local first = redis.call('ZRANGE', order, 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('HDEL', lanes, priority)  -- somebody lost it: `reclaim` sees that the count is wrong
    return nil
  end
  local tenant, mark = first[1], tonumber(first[2])
  local lane = lane_key(lanes, priority, tenant)
  local item = redis.call('LPOP', lane)
  redis.call('HSET', lanes, 'served:' .. priority, exact(mark))
  if redis.call('LLEN', lane) > 0 then
    redis.call('ZADD', order, exact(mark + 1), tenant)
  else
    redis.call('ZREM', order, tenant)
    redis.call('ZADD', ahead, exact(mark + 1), tenant)
    redis.call('ZREMRANGEBYSCORE', ahead, '-inf', exact(mark))
  end
  if not item then
    return nil
  end
  if redis.call('HINCRBY', lanes, priority, -1) <= 0 then
    redis.call('DEL', order, ahead)
    redis.call('HDEL', lanes, priority, 'served:' .. priority, 'newest:' .. priority)
  end
  if tonumber(redis.call('ZINCRBY', lanes .. ':tenants', -1, tenant)) <= 0 then
    redis.call('ZREM', lanes .. ':tenants', tenant)
  end
  local id, session, execution = string.match(item, '^(%S+) (%S+) (.*)$')
  if id then
    redis.call('ZREM', session_key(lanes, tenant, session), execution)
  end
  return id or item
end

-- Take out whatever is next over all lanes; answers its entry, or nil if nothing waits.
local function take_next(lanes)
  while true do
    local known = redis.call('HMGET', lanes, 'interactive', 'batch', 'since_batch')
    local since = tonumber(known[3] or 0)
    if not known[1] and not known[2] then
      return nil
    end
    local priority = 'interactive'
    if known[2] and (not known[1] or since >= BATCH_EVERY - 1) then
      priority, since = 'batch', -1
    end
    if known[2] then
      redis.call('HSET', lanes, 'since_batch', since + 1)
    elseif known[3] then
      redis.call('HDEL', lanes, 'since_batch')
    end
    local id = take_first(lanes, priority)
    if id then
      return id
    end
  end
end

local function waiting_of(lanes)
  local known = redis.call('HMGET', lanes, 'interactive', 'batch')
  return tonumber(known[1] or 0), tonumber(known[2] or 0)
end

-- Wake a handler that is idle while something waits: it listens to the requests only.
local function ring(requests, lanes)
  local known = redis.call('HMGET', lanes, 'interactive', 'batch', 'bell')
  local waiting = tonumber(known[1] or 0) + tonumber(known[2] or 0)
  if waiting > 0 and not known[3] and redis.call('EXISTS', lanes .. ':idle') == 1 then
    redis.call('HSET', lanes, 'bell', redis.call('XADD', requests, '*', 'bell', 1))
  end
  return waiting
end
