-- Which executions of a session stand before an entry on the requests. For clusters, where `begin` cannot look.
-- KEYS  requests, lanes
-- ARGV  entry, tenant, session
-- Answers places and ids, one after the other.
return earlier(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
