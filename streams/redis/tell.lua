-- Tell one inbox, for a client on a cluster, where no other script reaches it.
-- KEYS  inbox
-- ARGV  the message
put(KEYS[1], ARGV)
return 1
