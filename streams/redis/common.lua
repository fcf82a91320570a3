-- Put before every script: names, the server's clock, and telling those who follow.
-- GROUP and INBOX_MS are put before it by scripts.py.

local WAITING = 'waiting'  -- the consumer that holds what waits in lanes, which is nobody
local INBOX_ENTRIES_MAX = 10000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- One message for an inbox: whose log moved on, its last seq, and the events themselves where they are small.
local function news(id, first, events, inline)
  local message = {'id', id, 'last', whole(first + #events - 1)}
  if inline == '1' then
    for index, event in ipairs(events) do
      message[#message + 1] = whole(first + index - 1)
      message[#message + 1] = event
    end
  end
  return message
end

-- The inboxes that watch every step, and others that only wait for the end: a NUL stands before these. `ends` is
-- one of the latter that the record knows, or nothing.
local function watching(watchers, ends)
  local live, waiting, names = {}, {}, {}
  local scored = redis.call('ZRANGE', watchers, 0, -1, 'WITHSCORES')
  if not scored[1] and not ends then
    return live, waiting
  end
  local now, all = scored[1] and now_ms(), {ends or nil}
  for index = 1, #scored, 2 do
    if tonumber(scored[index + 1]) >= now then
      all[#all + 1] = scored[index]
      names[scored[index]] = true
    end
  end
  for _, watcher in ipairs(all) do
    local inbox = string.byte(watcher) == 0 and string.sub(watcher, 2)
    if not inbox then
      live[#live + 1] = watcher
    elseif not names[inbox] then
      waiting[#waiting + 1] = inbox
      names[inbox] = true
    end
  end
  return live, waiting
end

-- Whoever reads an inbox keeps it; here it is only seen to that one nobody reads any more expires.
local function put(inbox, message)
  redis.call('XADD', inbox, 'MAXLEN', '~', INBOX_ENTRIES_MAX, '*', unpack(message))
  if redis.call('XLEN', inbox) == 1 then
    redis.call('PEXPIRE', inbox, INBOX_MS)
  end
end

-- Tell inboxes. Where they are out of reach (reach 'slot': on a cluster they live in other slots) nobody is
-- told and the inboxes are returned for the client to tell.
local function tell_all(live, reach, message)
  if reach == 'slot' then
    return live
  end
  for _, inbox in ipairs(live) do
    put(inbox, message)
  end
  return {}
end

-- Tell every inbox that watches; answers as `tell_all`.
local function tell(watchers, reach, message)
  return tell_all(watching(watchers), reach, message)
end

-- Write events from seq `first` on; entry ids are the seqs, so that readers can start anywhere.
local function write(log, first, events)
  local bytes = 0
  for index, event in ipairs(events) do
    redis.call('XADD', log, whole(first + index - 1) .. '-0', 'data', event)
    bytes = bytes + #event
  end
  return bytes
end

-- Whether the log ends with exactly these events already: the answer to the first try was lost.
local function is_written(log, seq, last, event)
  if tonumber(seq) ~= last then
    return false
  end
  local entries = redis.call('XRANGE', log, whole(last) .. '-0', whole(last) .. '-0')
  return entries[1] ~= nil and entries[1][2][2] == event
end

local function expire(retention_ms, ...)
  for _, key in ipairs({...}) do
    redis.call('PEXPIRE', key, retention_ms)
  end
end

-- Make the record and the log of an execution nobody knew before; of another one only the log may be left.
local function create(record, log, fields)
  redis.call('HSET', record, 'digest', fields.digest, 'tenant', fields.tenant, 'language', fields.language,
    'session', fields.session, 'created', fields.created, 'token', 0, 'attempt', 0, 'seq', 1,
    'bytes', #fields.queued, unpack(fields.more or {}))
  local first = redis.pcall('XADD', log, '1-0', 'data', fields.queued)
  if type(first) == 'table' and first.err then
    redis.call('DEL', log)
    write(log, 1, {fields.queued})
  end
end
