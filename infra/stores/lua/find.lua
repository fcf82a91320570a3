-- Read records and keep the session for another TTL. ARGV: owner, TTL in ms, file id (none: all, in the
-- order in which they were saved). Answers a list of records.
if redis.call('HGET', about, 'owner') ~= ARGV[1] then return {} end
keep_for(ARGV[2])
local ids = ARGV[3] and { ARGV[3] } or redis.call('ZRANGE', order, 0, -1)
local found = {}
for _, id in ipairs(ids) do
  local record = redis.call('HGET', files, id)
  if record then found[#found + 1] = record end
end
return found
