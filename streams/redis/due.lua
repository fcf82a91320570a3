-- Take the parked requests that are to be looked at, so that nobody else looks for a while.
-- KEYS  parked
-- ARGV  look_again_ms, at most so many
-- Answers ids and when each is to be looked at next, one after the other.
local now = now_ms()
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[2])) do
  local again = whole(now + ARGV[1])
  redis.call('ZADD', KEYS[1], again, id)
  taken[#taken + 1] = id
  taken[#taken + 1] = again
end
return taken
