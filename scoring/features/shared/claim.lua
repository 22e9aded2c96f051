-- Take over the entries of a member whose heart stopped, so that one survivor alone settles them. It is fenced from now on.
--
-- KEYS meta members beats
-- ARGV epoch member dead_member lease_ms
-- Returns {status, place of its first unsettled entry or 0, the moment of its last beat plus its time to live, ms}
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'EPOCH'} end
local dead = ARGV[3]
local low = redis.call('HGET', KEYS[2], dead .. ':low')
local beat = redis.call('ZSCORE', KEYS[3], dead)
if not low then
  redis.call('ZREM', KEYS[3], dead)
  return {'GONE'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if beat and tonumber(beat) > now then return {'ALIVE'} end
local claim = redis.call('HMGET', KEYS[2], dead .. ':claim', dead .. ':until')
if claim[1] and claim[1] ~= ARGV[2] and tonumber(claim[2]) > now then return {'CLAIMED'} end
redis.call('HSET', KEYS[2], dead .. ':claim', ARGV[2], dead .. ':until', now + tonumber(ARGV[4]))
return {'OK', tonumber(low), tonumber(beat or 0)}
