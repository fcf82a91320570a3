-- Takes a pod out for good, if its state is still the one that this was decided on; '' is a pod not known.
-- KEYS: ready, states. ARGV: name, state. Returns 1 if nobody can claim it now.
if (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], 'spent')
redis.call('LREM', KEYS[1], 0, ARGV[1])
return 1
