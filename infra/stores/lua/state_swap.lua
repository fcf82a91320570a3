-- Save a state in place of the one that is expected to be there.
-- KEYS  state
-- ARGV  expected ETag ('' none, '*' any), data ('' where it is what is expected), its ETag, its bytes, when in ms,
--       TTL in ms, who must have claimed it last ('' no matter who)
-- Answers 'saved', 'changed' if another state is there, or 'claimed' by somebody else. Sent twice it is saved once.
local known = redis.call('HMGET', KEYS[1], 'etag', 'claim')
local there = known[1] or ''
if ARGV[7] ~= '' and known[2] ~= ARGV[7] then
  return 'claimed'
end
if ARGV[1] ~= '*' and there ~= ARGV[1] and there ~= ARGV[3] then
  return 'changed'
end
if there ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'data', ARGV[2], 'etag', ARGV[3], 'size', ARGV[4])
end
redis.call('HSET', KEYS[1], 'saved', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 'saved'
