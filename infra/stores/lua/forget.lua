-- Forget files, and whatever is being written under their ids. ARGV: file ids.
for _, id in ipairs(ARGV) do
  local record = redis.call('HGET', files, id)
  if record then
    redis.call('HDEL', files, id)
    redis.call('ZREM', order, id)
    redis.call('HINCRBY', about, 'bytes', string.format('%.0f', 0 - cjson.decode(record).ref.size_bytes))
  end
  redis.call('ZREM', writing, id)
end
clear_if_empty()
return 1
