-- Append my entries, tell me their place, and give me what others appended since I last asked; one call a batch.
--
-- KEYS meta log members beats
-- ARGV epoch member seen cursor unsettled ttl_ms max_log_bytes max_reply_bytes first_number entry...
--   seen       the largest head that this member was told: a smaller one now means that the log went back in time
--   cursor     entries up to here are applied; -1: append alone, send nothing
--   unsettled  place of the member's first entry whose commit is open; 0: none; -1: there is one, its place is not known
-- Returns {status, head, place of the first new entry or 0, number before, read_to, expired members, entries}
-- The log is a list with the newest entry at index 0: a list is walked from its front, whatever the sign of the index.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'base', 'bytes')
if meta[1] ~= ARGV[1] then return {'EPOCH'} end
local head, base, bytes = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])
local me = ARGV[2]
local mine = redis.call('HMGET', KEYS[3], me .. ':number', me .. ':seen', me .. ':low', me .. ':claim')
if not mine[1] or mine[4] then return {'FENCED'} end
local number, low = tonumber(mine[1]), tonumber(mine[3])
local cursor, unsettled, first_number = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9])
if redis.call('LLEN', KEYS[2]) ~= head - base or tonumber(mine[2]) < tonumber(ARGV[3]) or number < first_number - 1 then
  return {'BACK'}
end
if cursor >= 0 and cursor < base then return {'TRIMMED'} end

local entries, read_to, size, most = {}, head, 0, tonumber(ARGV[8])
if cursor >= 0 then
  read_to = cursor
  while read_to < head and size < most do
    local newest = math.min(head, read_to + 16)
    local slice = redis.call('LRANGE', KEYS[2], head - newest, head - read_to - 1)
    for i = #slice, 1, -1 do
      entries[#entries + 1] = slice[i]
      size = size + #slice[i]
    end
    read_to = newest
  end
end

-- Where more is waiting than one reply holds, nothing is appended: its features would not know what came before.
local before, first = number, 0
if read_to == head then
  for i = 10, #ARGV do
    local this = first_number + i - 10
    if this > number then
      redis.call('LPUSH', KEYS[2], ARGV[i])
      head, number, bytes = head + 1, this, bytes + #ARGV[i]
      if first == 0 then first = head end
    end
  end
  read_to = head
  if unsettled > 0 then low = unsettled
  elseif unsettled == 0 then
    -- Entries that are sent again were appended by a call whose answer was lost: what that call noted stands.
    if #ARGV < 10 or first_number > before then low = 0 end
    if low == 0 then low = first end
  end
end

local limit = tonumber(ARGV[7])
while bytes > limit and head - base > 1 do
  bytes = bytes - #redis.call('RPOP', KEYS[2])
  base = base + 1
end
redis.call('HSET', KEYS[1], 'head', head, 'base', base, 'bytes', bytes)
redis.call('HSET', KEYS[3], me .. ':number', number, me .. ':seen', head, me .. ':low', low)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[6]), me)
return {'OK', head, first, before, read_to, redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 8), entries}
