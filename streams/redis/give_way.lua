-- Take an entry off the requests because an older one of the same execution is there, if it still is.
-- KEYS  requests
-- ARGV  group, entry, older entry
-- Answers 1 if it was taken off.
if #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then
  return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
