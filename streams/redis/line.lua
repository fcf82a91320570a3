-- Put before scripts that deal with turns (streams/turns.py): the line of a session, who stands in it and where.
-- A line is a sorted set of execution ids by place.

-- The place of an entry as one number; the same as `place_of` in streams/turns.py.
local function place(entry)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  return whole(ms * 1000 + math.min(tonumber(number), 999))
end

local function field_of(fields, name)
  for index = 1, #fields, 2 do
    if fields[index] == name then
      return fields[index + 1]
    end
  end
end

local function data_of(fields)
  return field_of(fields, 'data')
end

local function decode(json)
  local readable, value = pcall(cjson.decode, json)
  return readable and type(value) == 'table' and value or {}
end

local EARLIER_MAX = 100  -- the first of them is what counts; when they have left, whoever begins looks again

-- Add an entry that somebody holds to `found` if it is of the session.
local function note_member(found, entry, body, tenant, session)
  if body and string.find(body, session, 1, true) then
    local asked = decode(body)
    if asked.session_id == session and (asked.tenant or 'default') == tenant then
      found[#found + 1] = place(entry)
      found[#found + 1] = type(asked.id) == 'string' and asked.id or 'entry-' .. entry
    end
  end
end

-- Places and ids of a session's executions that stand before `entry` on the requests: of those that wait in
-- lanes the session's own list is looked at, and else as many entries as are held by all handlers together.
-- What was acknowledged is gone, what is new comes after.
local function earlier(requests, lanes, entry, tenant, session)
  local found = {}
  local waiting = lanes .. ':session:' .. tenant .. ':' .. session
  local before = '(' .. place(entry)
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', before, 'WITHSCORES', 'LIMIT', 0, EARLIER_MAX)) do
    found[#found + 1] = item
  end
  for index = 1, #found, 2 do
    found[index], found[index + 1] = found[index + 1], found[index]
  end
  for _, flat in ipairs(redis.pcall('XINFO', 'CONSUMERS', requests, GROUP)) do  -- none after a flush
    local name, pending = field_of(flat, 'name'), field_of(flat, 'pending')
    if name ~= WAITING and pending > 0 then
      for _, item in ipairs(redis.call('XPENDING', requests, GROUP, '-', '(' .. entry, EARLIER_MAX, name)) do
        local held = redis.call('XRANGE', requests, item[1], item[1])[1]
        note_member(found, item[1], held and data_of(held[2]), tenant, session)
      end
    end
  end
  return found
end

-- Put executions, as places and ids, into a line unless they are in it; answers who is first.
local function join(line, places, retention_ms)
  redis.call('ZADD', line, 'NX', unpack(places))
  redis.call('PEXPIRE', line, retention_ms)
  return redis.call('ZRANGE', line, 0, 0)[1]
end

-- Leave a line; answers who is first then, or ''.
local function leave(line, id)
  redis.call('ZREM', line, id)
  return redis.call('ZRANGE', line, 0, 0)[1] or ''
end

local function is_cancelled(mail)
  for _, command in ipairs(redis.call('HVALS', mail)) do
    if decode(command).type == 'cancel_execution' then
      return true
    end
  end
  return false
end

local function is_past(deadline_ms, now)
  return deadline_ms ~= '' and tonumber(deadline_ms) <= now
end
