-- Forget a state that lies elsewhere by now, unless another was saved since.
-- KEYS  state
-- ARGV  ETag
-- Answers 1 if it is gone.
local there = redis.call('HGET', KEYS[1], 'etag')
if there and there ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
