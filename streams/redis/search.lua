-- Whether any entry on the requests is of an execution. Reads all of them: only where its entry was lost track of.
-- KEYS  requests
-- ARGV  id
-- Answers the entry, or ''.
local from = '-'
while true do
  local items = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 256)
  for _, item in ipairs(items) do
    local body = data_of(item[2])
    if body and string.find(body, ARGV[1], 1, true) and decode(body).id == ARGV[1] then
      return item[1]
    end
  end
  if #items < 256 then
    return ''
  end
  from = '(' .. items[#items][1]
end
