-- Become a member, founding the log where there is none, where it is the one that is known to be bad, or where it is torn.
--
-- KEYS meta log members beats
-- ARGV bad_epoch (* is any) new_epoch member name ttl_ms
-- Returns {epoch, head, replay_from}: entries after replay_from may not be in the ledger yet.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'base')
local epoch, head, base = meta[1], tonumber(meta[2] or 0), tonumber(meta[3] or 0)
local low = head
if epoch then
  local values = redis.call('HGETALL', KEYS[3])
  for i = 1, #values, 2 do
    local place = tonumber(values[i + 1])
    if string.sub(values[i], -4) == ':low' and place > 0 then low = math.min(low, place - 1) end
  end
end
if not epoch or epoch == ARGV[1] or ARGV[1] == '*' or low < base or redis.call('LLEN', KEYS[2]) ~= head - base then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  epoch, head, low = ARGV[2], 0, 0
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', 0, 'base', 0, 'bytes', 0)
end
local me = ARGV[3]
redis.call('HSET', KEYS[3], me .. ':number', 0, me .. ':seen', head, me .. ':low', 0, me .. ':name', ARGV[4])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[4], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[5]), me)
return {epoch, head, low}
