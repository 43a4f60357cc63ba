-- Remove the registry entries of an instance that has died.
--
-- KEYS  1 registry  2 sessions  3 heartbeat of the dead instance
-- ARGV  1 the dead instance  2.. imeis
-- Returns 'ALIVE' when the instance has a heartbeat again, else {imei, session token, ...} of what was removed.

if redis.call('EXISTS', KEYS[3]) == 1 then return 'ALIVE' end
local removed = {}
for index = 2, #ARGV do
  local imei = ARGV[index]
  if redis.call('HGET', KEYS[1], imei) == ARGV[1] then
    removed[#removed + 1] = imei
    removed[#removed + 1] = (redis.call('HGET', KEYS[2], imei) or ''):match('^%S*')
    redis.call('HDEL', KEYS[1], imei)
    redis.call('HDEL', KEYS[2], imei)
  end
end
return removed
