-- List a file that is whole. ARGV: file id, record, its bytes, bytes_max of the session, TTL in ms.
-- Answers 'ok', 'gone' (the place was taken away) or 'full'. Doing it twice is doing it once.
local id, record, size, bytes_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('HEXISTS', files, id) == 1 then return 'ok' end
if not redis.call('ZSCORE', writing, id) then return 'gone' end
local taken = tonumber(redis.call('HGET', about, 'bytes') or '0')
if taken + size > bytes_max then return 'full' end
redis.call('ZREM', writing, id)
redis.call('HSET', files, id, record)
redis.call('ZADD', order, redis.call('HINCRBY', about, 'written', 1), id)
redis.call('HINCRBY', about, 'bytes', ARGV[3])
keep_for(ARGV[5])
return 'ok'
