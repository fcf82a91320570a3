-- Hand out what waits, in fair order, to a handler that has slots free.
-- KEYS  requests, lanes
-- ARGV  consumer, free slots, '1' to hand out though not all is sorted yet, then bells that were heard
-- Answers {whether there is more to sort, how many still wait, entries with their fields}.
local requests, lanes = KEYS[1], KEYS[2]
for index = 4, #ARGV do
  silence(requests, lanes, ARGV[index])
end
local more = sort(requests, lanes)
local handed = {}
if not more or ARGV[3] == '1' then
  while #handed < tonumber(ARGV[2]) do
    local id = take_next(lanes)
    if not id then
      break
    end
    -- What does not wait any more, as lanes were lost and made anew, is somebody's. Of what somebody deleted
    -- nothing is claimed.
    if redis.call('XPENDING', requests, GROUP, id, id, 1, WAITING)[1] then
      handed[#handed + 1] = redis.call('XCLAIM', requests, GROUP, ARGV[1], 0, id, 'RETRYCOUNT', 1)[1]
    end
  end
end
if #handed < tonumber(ARGV[2]) and not more then
  redis.call('SADD', lanes .. ':idle', ARGV[1])
else
  redis.call('SREM', lanes .. ':idle', ARGV[1])
end
return {more and 1 or 0, ring(requests, lanes), handed}
