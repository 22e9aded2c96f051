-- Append the retraction of what a dead member left undone, and forget it; once, whoever asks how often.
--
-- KEYS meta log members beats
-- ARGV epoch member dead_member entry...
-- Returns {status}
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'bytes')
if meta[1] ~= ARGV[1] then return {'EPOCH'} end
local dead = ARGV[3]
if redis.call('HGET', KEYS[3], dead .. ':claim') ~= ARGV[2] then return {'GONE'} end
local head, bytes = tonumber(meta[2]), tonumber(meta[3])
for i = 4, #ARGV do
  redis.call('LPUSH', KEYS[2], ARGV[i])
  head, bytes = head + 1, bytes + #ARGV[i]
end
redis.call('HSET', KEYS[1], 'head', head, 'bytes', bytes)
for _, field in ipairs({':number', ':seen', ':low', ':name', ':claim', ':until'}) do redis.call('HDEL', KEYS[3], dead .. field) end
redis.call('ZREM', KEYS[4], dead)
return {'OK'}
