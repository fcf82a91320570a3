-- Publish a control command and leave it in the mail, where one script reaches both. Handlers then need not.
-- KEYS  record, log, watchers, mail, control
-- ARGV  id, command, nonce, entries_max, retention_ms, commands_max
-- Answers {entry, what `deposit` in mail.lua answers}.
local entry = redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[4], '*', 'data', ARGV[2], 'once', ARGV[3],
  'for', ARGV[1], 'mailed', 1)
return {entry, deposit(KEYS[1], KEYS[4], entry .. ' ' .. ARGV[3], ARGV[2], ARGV[5], ARGV[6])}
