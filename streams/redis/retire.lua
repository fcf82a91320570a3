-- Take an entry off the requests for good, and publish its body anew if one is given. Doing it twice is harmless.
-- KEYS  requests
-- ARGV  group, entry, body or ''
local was_pending = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1
redis.call('XDEL', KEYS[1], ARGV[2])
if ARGV[3] ~= '' and was_pending then
  redis.call('XADD', KEYS[1], '*', 'data', ARGV[3])
end
return 1
