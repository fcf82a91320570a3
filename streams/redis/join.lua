-- Put executions into the line of their session. For clusters, where `begin` cannot reach it.
-- KEYS  line
-- ARGV  retention_ms, then places and ids, one after the other
-- Answers who is first.
local places = {}
for index = 2, #ARGV do
  places[#places + 1] = ARGV[index]
end
return join(KEYS[1], places, ARGV[1])
