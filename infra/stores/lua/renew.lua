-- Say that a file is still being written. ARGV: file id, lease in ms. Answers 0 if its place is gone.
if not redis.call('ZSCORE', writing, ARGV[1]) then return 0 end
redis.call('ZADD', writing, now_ms() + ARGV[2], ARGV[1])
return 1
