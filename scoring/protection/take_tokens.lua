-- Books what was spent and asks for more, for several token buckets, in one atomic call.
-- KEYS[1]: sorted set of the processes that share the limits. KEYS[2..]: one bucket each (hash: tokens, at).
-- ARGV[1]: this process. Then for each bucket: rate, burst, spent (taken already; negative gives back), wanted.
-- `wanted` is granted whole or not at all; more than the burst needs a full bucket and leaves it in debt.
-- Returns the number of processes, and for each bucket: 1 or 0 (granted), tokens left.
-- The one clock is the server's: the clocks of its callers need not agree.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10)
redis.call('EXPIRE', KEYS[1], 20)
local answer = {redis.call('ZCARD', KEYS[1])}
for i = 2, #KEYS do
  local place = 2 + (i - 2) * 4
  local rate, burst = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local spent, wanted = tonumber(ARGV[place + 2]), tonumber(ARGV[place + 3])
  local stored = redis.call('HMGET', KEYS[i], 'tokens', 'at')
  local tokens, at = tonumber(stored[1]), tonumber(stored[2])
  if tokens == nil or at == nil then
    tokens = burst
  elseif now > at then
    tokens = tokens + (now - at) * rate
  end
  tokens = math.min(burst, math.min(burst, tokens) - spent)
  local granted = 0
  if wanted > 0 and tokens >= math.min(wanted, burst) then
    tokens = tokens - wanted
    granted = 1
  end
  redis.call('HSET', KEYS[i], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
  -- When it would be full again it says no more than a bucket that is not there.
  redis.call('PEXPIRE', KEYS[i], math.ceil((burst - tokens) / rate * 1000) + 1000)
  answer[#answer + 1] = granted
  answer[#answer + 1] = string.format('%.6f', tokens)
end
return answer
