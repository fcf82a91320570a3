-- Reserve a place for one more file. ARGV: owner, file id, files_max, lease in ms, TTL in ms.
-- Answers 'foreign', or 'full', or the bytes that the session's files take.
local owner, id, files_max, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local holder = redis.call('HGET', about, 'owner')
if holder and holder ~= owner then return 'foreign' end
local now = now_ms()
-- Writers that died no longer count. One that only slept finds its place gone and fails.
redis.call('ZREMRANGEBYSCORE', writing, '-inf', now)
if not redis.call('ZSCORE', writing, id)
  and redis.call('HLEN', files) + redis.call('ZCARD', writing) >= files_max then
  return 'full'
end
redis.call('HSETNX', about, 'owner', owner)
redis.call('ZADD', writing, now + lease_ms, id)
keep_for(ARGV[5])
return redis.call('HGET', about, 'bytes') or '0'
