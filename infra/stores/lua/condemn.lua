-- Of these ids, take those that are neither whole nor being written: they can never become files.
-- ARGV: file ids. Answers the ids taken.
local now = now_ms()
local condemned = {}
for _, id in ipairs(ARGV) do
  local lease = redis.call('ZSCORE', writing, id)
  if redis.call('HEXISTS', files, id) == 0 and not (lease and tonumber(lease) > now) then
    redis.call('ZREM', writing, id)
    condemned[#condemned + 1] = id
  end
end
return condemned
