-- Forget all files of a session; what is being written fails. ARGV: owner. Answers the ids of whole files.
if redis.call('HGET', about, 'owner') ~= ARGV[1] then return {} end
local ids = redis.call('ZRANGE', order, 0, -1)
redis.call('DEL', about, files, order, writing)
return ids
