-- Show that an instance is alive, or that it has gone.
--
-- KEYS  1 heartbeat  2 boot  3 instances
-- ARGV  1 act (take_over, beat, release)  2 instance_id  3 boot_id  4 EX or PX  5 time to live in that unit
--       6 for take_over: the boot id that owned the instance id when we looked, '' for none
-- Returns the time in epoch ms, or 'FENCED' when another process owns the instance id, or 'CHANGED' when it
-- is not the one we have seen: a call that was held up on its way must not undo what came after it.

local heartbeat, boot, instances = KEYS[1], KEYS[2], KEYS[3]
local act, instance_id, boot_id, unit, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%d', now)
local owner = redis.call('GET', boot)

if act == 'take_over' and owner and owner ~= boot_id and owner ~= ARGV[6] then return 'CHANGED' end
if act ~= 'take_over' and owner and owner ~= boot_id then return 'FENCED' end

if act == 'release' then
  if owner then redis.call('DEL', heartbeat, boot) end
  return now
end

-- Janitors iterate the known instances: one that beats without being known would never be cleaned up after. It is
-- forgotten a retention after its last sign of life: until then producers may write to its stream.
redis.call('HSET', instances, instance_id, stamp)
redis.call('SET', boot, boot_id, unit, ttl)
redis.call('SET', heartbeat, stamp, unit, ttl)
return now
