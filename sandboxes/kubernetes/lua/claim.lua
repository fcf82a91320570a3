-- Takes the pod that has waited longest. KEYS: ready, states, details, wake, wanted, claim.
-- ARGV: holder, language, trigger, seconds that the claim is remembered for.
-- Returns its name and details; nothing if none is ready. Either way the pool may be told to look.
-- Said again, because the answer was lost, a claim gets what it got; one that was taken back gets nothing.
local before = redis.call('GET', KEYS[6])
if before == '' then return false end
if before then return { before, redis.call('HGET', KEYS[3], before) } end
local taken = false
local name = redis.call('LPOP', KEYS[1])
while name do
  if redis.call('HGET', KEYS[2], name) == 'ready' then
    redis.call('HSET', KEYS[2], name, 'claimed:' .. ARGV[1])
    redis.call('SET', KEYS[6], name, 'EX', ARGV[4])
    taken = { name, redis.call('HGET', KEYS[3], name) }
    break
  end
  name = redis.call('LPOP', KEYS[1])
end
if not taken then redis.call('SADD', KEYS[5], ARGV[2]) end
if ARGV[3] == '1' then
  redis.call('LPUSH', KEYS[4], '1')
  redis.call('LTRIM', KEYS[4], 0, 0)
end
return taken
