-- Let a session id go, if it is this owner's.
-- KEYS  session
-- ARGV  owner
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
