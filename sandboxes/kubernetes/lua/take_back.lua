-- Undoes a claim whose answer nobody waits for: its pod is spent, and should the claim come late it gets none.
-- KEYS: states, claim. ARGV: seconds that this is remembered for.
local name = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], '', 'EX', ARGV[1])
if name and name ~= '' and redis.call('HEXISTS', KEYS[1], name) == 1 then
  redis.call('HSET', KEYS[1], name, 'spent')
end
return name
