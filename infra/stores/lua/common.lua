-- What all scripts share. KEYS of one session, in this order; see file_records.py for what they hold.
local about, files, order, writing = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function keep_for(ttl_ms)
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl_ms) end
end

-- A session without any file is no session of ours any more: whoever comes next may own it.
local function clear_if_empty()
  if redis.call('EXISTS', files, writing) == 0 then redis.call('DEL', about) end
end
