-- Keep an entry from being reclaimed. It is no further delivery.
-- KEYS  requests
-- ARGV  consumer, entry
redis.call('XCLAIM', KEYS[1], GROUP, ARGV[1], 0, ARGV[2], 'JUSTID')
return 1
