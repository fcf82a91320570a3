-- Make a control entry, which every handler reads, a dead letter once.
-- KEYS  mark, dead
-- ARGV  mark_ms, dead_letters_max, then the fields of the dead letter
if redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
return 1
