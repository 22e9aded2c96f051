-- Read entries without taking part.
--
-- KEYS meta log
-- ARGV epoch cursor max_reply_bytes
-- Returns {status, head, read_to, entries}
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'base')
if meta[1] ~= ARGV[1] then return {'EPOCH'} end
local head, base, read_to = tonumber(meta[2]), tonumber(meta[3]), tonumber(ARGV[2])
if redis.call('LLEN', KEYS[2]) ~= head - base or read_to > head then return {'BACK'} end
if read_to < base then return {'TRIMMED'} end
local entries, size, most = {}, 0, tonumber(ARGV[3])
while read_to < head and size < most do
  local newest = math.min(head, read_to + 16)
  local slice = redis.call('LRANGE', KEYS[2], head - newest, head - read_to - 1)
  for i = #slice, 1, -1 do
    entries[#entries + 1] = slice[i]
    size = size + #slice[i]
  end
  read_to = newest
end
return {'OK', head, read_to, entries}
