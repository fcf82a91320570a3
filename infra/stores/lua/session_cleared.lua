-- Note that everything of a session is gone, unless it was opened again since.
-- KEYS  ends
-- ARGV  session
local look_at = redis.call('ZSCORE', KEYS[1], ARGV[1])
if look_at and tonumber(look_at) <= now_ms() then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
