-- Makes a pod ready to be claimed, once in its life. KEYS: ready, states, details. ARGV: name, details.
if redis.call('HSETNX', KEYS[2], ARGV[1], 'ready') == 0 then return 0 end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
