-- Put a control command where the handler looks that takes the execution next.
-- KEYS  record, log, watchers, mail
-- ARGV  name (its entry, and how to know it by), command, retention_ms, commands_max
-- Answers as `deposit` in mail.lua.
return deposit(KEYS[1], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
