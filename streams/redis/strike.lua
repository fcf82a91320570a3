-- Take a request that is not parked any more off the list, unless it was parked anew since it was looked at.
-- KEYS  parked
-- ARGV  id, when it was to be looked at next
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
