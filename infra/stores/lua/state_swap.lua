-- Save a state in place of the one that is expected to be there.
-- KEYS  state
-- ARGV  expected ETag ('' none, '*' any), data ('' where it is what is expected), its ETag, its bytes, when in ms,
--       TTL in ms
-- Answers 1, or 0 if another state is there. Sent twice it is saved once.
local there = redis.call('HGET', KEYS[1], 'etag') or ''
if ARGV[1] ~= '*' and there ~= ARGV[1] and there ~= ARGV[3] then
  return 0
end
if there ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'data', ARGV[2], 'etag', ARGV[3], 'size', ARGV[4])
end
redis.call('HSET', KEYS[1], 'saved', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
