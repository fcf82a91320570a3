-- Take over entries whose holder was silent for too long, and make the lanes good if they were lost.
-- KEYS  requests, lanes
-- ARGV  consumer, idle_ms, at most so many
-- Answers entries with their fields and how often they have been handed out now.
local requests, lanes = KEYS[1], KEYS[2]
local found, waiting, lives = {}, 0, {}
redis.call('XPENDING', requests, GROUP)  -- which says it in the usual way if there is no group
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', requests, GROUP)) do
  local name, pending, room = field_of(flat, 'name'), field_of(flat, 'pending'), ARGV[3] - #found
  lives[name] = true
  if name == WAITING then
    waiting = pending
  elseif pending > 0 and room > 0 then
    for _, item in ipairs(redis.call('XPENDING', requests, GROUP, 'IDLE', ARGV[2], '-', '+', room, name)) do
      local claimed = redis.call('XCLAIM', requests, GROUP, ARGV[1], ARGV[2], item[1])[1]
      if claimed and field_of(claimed[2], 'bell') then
        silence(requests, lanes, claimed[1])
      elseif claimed then
        found[#found + 1] = {claimed[1], claimed[2], item[4] + 1}
      end
    end
  end
end

for _, name in ipairs(redis.call('SMEMBERS', lanes .. ':idle')) do
  if not lives[name] then
    redis.call('SREM', lanes .. ':idle', name)
  end
end

-- Somebody may have lost the lanes, or the requests. What waits is known from the requests alone.
local interactive, batch = waiting_of(lanes)
if interactive + batch ~= waiting then
  for _, priority in ipairs({'interactive', 'batch'}) do
    for _, known in ipairs({lanes .. ':order:' .. priority, lanes .. ':tenants'}) do
      for _, tenant in ipairs(redis.call('ZRANGE', known, 0, -1)) do
        redis.call('DEL', lane_key(lanes, priority, tenant))
      end
    end
    redis.call('DEL', lanes .. ':order:' .. priority, lanes .. ':ahead:' .. priority)
  end
  redis.call('DEL', lanes .. ':tenants')
  redis.call('HDEL', lanes, 'interactive', 'batch', 'since_batch', 'served:interactive', 'newest:interactive',
    'served:batch', 'newest:batch')
  local from = '-'
  while true do
    local items = redis.call('XPENDING', requests, GROUP, from, '+', 256, WAITING)
    for _, item in ipairs(items) do
      local entry = redis.call('XRANGE', requests, item[1], item[1])[1]
      if entry then
        file(lanes, item[1], data_of(entry[2]) or '')
      else
        redis.call('XACK', requests, GROUP, item[1])
      end
      from = '(' .. item[1]
    end
    if #items < 256 then
      break
    end
  end
end
ring(requests, lanes)
return found
