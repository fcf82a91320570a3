-- Put before scripts that leave mail: control commands that the next handler of an execution is to find.

-- Put a command into the mail. Doing it twice is harmless.
-- Answers 2 if the execution waits for its turn, 1 if not, 0 if the command was left out.
local function deposit(record, mail, name, command, retention_ms, commands_max)
  if redis.call('HEXISTS', record, 'finished') == 1 or redis.call('HLEN', mail) >= tonumber(commands_max) then
    return 0
  end
  redis.call('HSETNX', mail, name, command)
  redis.call('PEXPIRE', mail, retention_ms)
  return redis.call('HEXISTS', record, 'parked_as') == 1 and 2 or 1
end
