-- Takes an instance id, renews its heartbeat, or releases it.
--
-- KEYS  1 heartbeat  2 boot  3 instances  4 holder
-- ARGV  1 act (take_over, renew, release)  2 instance_id  3 boot_id  4 EX or PX  5 time to live in that unit
--       6, 7 for take_over: boot id and last heartbeat of the owner as they were read before; '' for none
--       8.. names and values for the holder: the description of this process
--       6 for release: milliseconds for which others know that this instance was stopped in order
-- Returns the time in epoch ms; or 'FENCED' if another process owns the instance id; or 'CHANGED' if the owner is not
-- the one that was read, or has renewed its heartbeat since: a delayed call must not undo later ones, and a live
-- process is not displaced.

local heartbeat, boot, instances, holder = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local act, instance_id, boot_id, unit, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%d', now)
local owner = redis.call('GET', boot)

local theirs = owner and owner ~= boot_id

if act == 'take_over' and theirs and owner ~= ARGV[6] then return 'CHANGED' end
if act == 'take_over' and theirs and (redis.call('GET', heartbeat) or '') ~= ARGV[7] then return 'CHANGED' end
if act ~= 'take_over' and theirs then return 'FENCED' end

if act == 'release' then
  if owner then
    redis.call('DEL', heartbeat, boot, holder)
    redis.call('HSET', holder, 'stopped', stamp)
    redis.call('PEXPIRE', holder, ARGV[6])
  end
  return now
end

-- Janitors iterate the known instances: the work of an instance that is not known would never be adopted. An instance
-- is forgotten a retention after its last heartbeat, because until then producers may write to its stream.
redis.call('HSET', instances, instance_id, stamp)
redis.call('SET', boot, boot_id, unit, ttl)
redis.call('SET', heartbeat, stamp, unit, ttl)
if owner ~= boot_id then redis.call('DEL', holder) end
redis.call('HSET', holder, unpack(ARGV, 8))
redis.call('HSETNX', holder, 'since', stamp)
redis.call('PEXPIRE', holder, unit == 'EX' and ttl * 1000 or ttl)
return now
