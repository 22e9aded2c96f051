-- Become a member, founding the log where there is none, where it is the one that is known to be bad, or where it is torn.
--
-- KEYS meta log members beats
-- ARGV bad_epoch (* is any) new_epoch member name ttl_ms old_member
--   old_member  the caller's membership until now, or empty: it ends, and what it left open is the new member's to send again
-- Returns {epoch, head, replay_from}: entries after replay_from may not be in the ledger yet. {BUSY} while another member
-- settles what the old one left open: a retraction of that must not come after it was sent again.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'base')
local epoch, head, base = meta[1], tonumber(meta[2] or 0), tonumber(meta[3] or 0)
local low, mine = head, 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if epoch and ARGV[6] ~= '' then
  local old = ARGV[6]
  local values = redis.call('HMGET', KEYS[3], old .. ':low', old .. ':claim', old .. ':until')
  if values[2] and tonumber(values[3]) > now then return {'BUSY'} end
  if values[1] then mine = tonumber(values[1]) end
  for _, field in ipairs({':number', ':seen', ':low', ':name', ':claim', ':until'}) do redis.call('HDEL', KEYS[3], old .. field) end
  redis.call('ZREM', KEYS[4], old)
  if mine > 0 then low = mine - 1 end
end
if epoch then
  local values = redis.call('HGETALL', KEYS[3])
  for i = 1, #values, 2 do
    local place = tonumber(values[i + 1])
    if string.sub(values[i], -4) == ':low' and place > 0 then low = math.min(low, place - 1) end
  end
end
if not epoch or epoch == ARGV[1] or ARGV[1] == '*' or low < base or redis.call('LLEN', KEYS[2]) ~= head - base then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  epoch, head, low, mine = ARGV[2], 0, 0, 0
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', 0, 'base', 0, 'bytes', 0)
end
local me = ARGV[3]
redis.call('HSET', KEYS[3], me .. ':number', 0, me .. ':seen', head, me .. ':low', mine, me .. ':name', ARGV[4])
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[5]), me)
return {epoch, head, low}
