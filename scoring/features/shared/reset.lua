-- Forget the log: every member rebuilds from the ledger and joins the next one.
--
-- KEYS meta log members beats
-- ARGV epoch
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) end
return {'OK'}
