-- Put before scripts that deal with turns (streams/turns.py): the line of a session, who stands in it and where.
-- A line is a sorted set of execution ids by place.

-- The place of an entry as one number; the same as `place_of` in streams/turns.py.
local function place(entry)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  return whole(ms * 1000 + math.min(tonumber(number), 999))
end

local function data_of(fields)
  for index = 1, #fields, 2 do
    if fields[index] == 'data' then
      return fields[index + 1]
    end
  end
end

local function decode(json)
  local readable, value = pcall(cjson.decode, json)
  return readable and type(value) == 'table' and value or {}
end

-- Places and ids of a session's executions that stand before `entry` on the requests. As many entries are
-- looked at as are held by all handlers together: what was acknowledged is gone, what is new comes after.
local function earlier(requests, entry, tenant, session)
  local found = {}
  for _, item in ipairs(redis.call('XRANGE', requests, '-', '(' .. entry)) do
    local body = data_of(item[2])
    if body and string.find(body, session, 1, true) then
      local asked = decode(body)
      if asked.session_id == session and (asked.tenant or 'default') == tenant then
        found[#found + 1] = place(item[1])
        found[#found + 1] = type(asked.id) == 'string' and asked.id or 'entry-' .. item[1]
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
