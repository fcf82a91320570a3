-- Tell one inbox, for a client on a cluster, where no other script reaches it.
-- KEYS  inbox
-- ARGV  the message
redis.call('XADD', KEYS[1], 'MAXLEN', '~', INBOX_ENTRIES_MAX, '*', unpack(ARGV))
redis.call('PEXPIRE', KEYS[1], INBOX_MS)
return 1
