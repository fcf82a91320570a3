-- How much waits, and whose it is. What nobody was handed yet is sorted for that.
-- KEYS  requests, lanes
-- ARGV  at most so many tenants
-- Answers {unsorted, interactive, batch, pending, age of the oldest in ms, tenants and how much each has waiting}.
local requests, lanes = KEYS[1], KEYS[2]
local present = redis.call('XLEN', requests)
if present == 0 then
  return {0, 0, 0, 0, 0, {}}
end
-- Before the first handler came there is no group. From 0, as handlers make it.
redis.pcall('XGROUP', 'CREATE', requests, GROUP, 0)
-- What is left over is sorted by the next look; until then nobody knows whose it is.
sort(requests, lanes)
ring(requests, lanes)
local interactive, batch = waiting_of(lanes)
local held = redis.call('XPENDING', requests, GROUP)[1]
local bell = redis.call('HEXISTS', lanes, 'bell')
local age = 0
local oldest = redis.call('XPENDING', requests, GROUP, '-', '+', 1, WAITING)[1]
if oldest then
  age = math.max(0, now_ms() - string.match(oldest[1], '^%d+'))
end
local tenants = redis.call('ZRANGE', lanes .. ':tenants', 0, ARGV[1] - 1, 'REV', 'WITHSCORES')
local unsorted = math.max(0, redis.call('XLEN', requests) - held - bell)
return {unsorted, interactive, batch, held - interactive - batch, age, tenants}
