-- Forget consumers that hold nothing and are gone. In one step, for a consumer's pending entries go with it.
-- KEYS  requests
-- ARGV  group, idle_ms, a consumer that leaves now or ''; with it goes the one that is nobody
-- Answers how many were forgotten.
local forgotten = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for index = 1, #flat, 2 do
    consumer[flat[index]] = flat[index + 1]
  end
  local leaves = ARGV[3] ~= '' and (consumer.name == ARGV[3] or consumer.name == WAITING)
  local silent = consumer.name ~= WAITING and consumer.idle > tonumber(ARGV[2])
  if consumer.pending == 0 and (leaves or silent) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    forgotten = forgotten + 1
  end
end
return forgotten
