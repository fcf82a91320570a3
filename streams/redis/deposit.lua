-- Put a control command where the handler looks that takes the execution next. Doing it twice is harmless.
-- KEYS  record, log, watchers, mail
-- ARGV  name (its entry, and how to know it by), command, retention_ms, commands_max
-- Answers 2 if the execution waits for its turn, 1 if not, 0 if the command was left out.
if redis.call('HEXISTS', KEYS[1], 'finished') == 1 or redis.call('HLEN', KEYS[4]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSETNX', KEYS[4], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[4], ARGV[3])
return redis.call('HEXISTS', KEYS[1], 'parked_as') == 1 and 2 or 1
