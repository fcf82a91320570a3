-- Claim a session id for an owner, or use it again.
-- KEYS  session
-- ARGV  owner, TTL in ms
-- Answers 0 if it is another owner's, 1 if it is this owner's already, 2 if it is now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return holder and 1 or 2
