-- Put before every script: names, the server's clock, and telling those who follow.

local GROUP = 'handlers'
local WAITING = 'waiting'  -- the consumer that holds what waits in lanes, which is nobody
local INBOX_ENTRIES_MAX = 10000
local INBOX_MS = 60000  -- an inbox nobody put anything into for so long expires

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

-- The inboxes that watch every step, and others that only wait for the end: a NUL stands before these.
local function watching(watchers)
  local live, waiting, names = {}, {}, {}
  local all = redis.call('ZRANGEBYSCORE', watchers, whole(now_ms()), '+inf')
  for _, watcher in ipairs(all) do
    names[watcher] = true
  end
  for _, watcher in ipairs(all) do
    if string.byte(watcher) ~= 0 then
      live[#live + 1] = watcher
    elseif not names[string.sub(watcher, 2)] then
      waiting[#waiting + 1] = string.sub(watcher, 2)
    end
  end
  return live, waiting
end

local function put(inbox, message)
  redis.call('XADD', inbox, 'MAXLEN', '~', INBOX_ENTRIES_MAX, '*', unpack(message))
  redis.call('PEXPIRE', inbox, INBOX_MS)
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

-- Make the record and the log of an execution nobody knew before.
local function create(record, log, fields)
  redis.call('HSET', record, 'digest', fields.digest, 'tenant', fields.tenant, 'language', fields.language,
    'session', fields.session, 'created', fields.created, 'token', 0, 'attempt', 0, 'seq', 1,
    'bytes', #fields.queued)
  redis.call('DEL', log)
  write(log, 1, {fields.queued})
end
