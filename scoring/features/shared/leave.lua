-- A member with nothing unsettled goes in order.
--
-- KEYS meta members beats
-- ARGV epoch member
-- Returns {status}
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'EPOCH'} end
local me = ARGV[2]
if redis.call('HGET', KEYS[2], me .. ':claim') then return {'FENCED'} end
for _, field in ipairs({':number', ':seen', ':low', ':name'}) do redis.call('HDEL', KEYS[2], me .. field) end
redis.call('ZREM', KEYS[3], me)
return {'OK'}
