-- Leave the line of a session. For clusters, where `finish` cannot reach it.
-- KEYS  line
-- ARGV  id
-- Answers who is first then, or ''.
return leave(KEYS[1], ARGV[1])
