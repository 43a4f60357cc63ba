-- Registers and unregisters sessions, in order.
--
-- KEYS  1 registry  2 sessions  3 our boot  4 instances  5 devices that send serial-port data
-- ARGV  1 JSON: {boot, instance, heartbeat and boots = prefixes of such keys, calls = [[act, imei, session_id], ...]}
-- Returns {{status, instance_id, 'speaks' or ''}, ...}, one per call, or 'FENCED' when another process owns our
-- instance id.
--   first     REGISTERED with the former holder ('' for none); or INSECURE with the instance on which a live session with
--             TLS holds the device, if this session has no TLS
--   deferred  REGISTERED, or SUPERSEDED with the instance that holds the entry and is alive
--   remove    REMOVED, or KEPT because the entry is another instance's, or another session's and not an older one's

local registry, sessions, boot, instances, speakers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local input = cjson.decode(ARGV[1])
local us = input.instance
local known = false
local owner = redis.call('GET', boot)

-- Producers write to the instance that the registry names, and janitors iterate the known instances. If Redis has lost
-- its data, we may be registered before our next heartbeat, and die before it: so we have to be known. If our id has no
-- owner, our work may have been adopted already, and this may be a delayed call: a new stamp makes janitors adopt again.
local function be_known()
  local clock = redis.call('TIME')
  local stamp = string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call(owner and 'HSETNX' or 'HSET', instances, us, stamp)
  known = true
end

local function take(imei, session, holder)
  if not known then be_known() end
  if holder ~= us then redis.call('HSET', registry, imei, us) end
  redis.call('HSET', sessions, imei, session)
  return {'REGISTERED', holder or ''}
end

-- The number of a session of this process, whose sessions are named <boot>-<number in hexadecimal digits>.
local function serial(session)
  local prefix = input.boot .. '-'
  local digits = session:sub(1, #prefix) == prefix and session:sub(#prefix + 1):match('^%x+')
  return digits and tonumber(digits, 16)
end

-- An entry outlives its session when the device has a newer one that could not be registered.
local function is_older(token, session)
  local theirs, ours = serial(token), serial(session)
  return theirs and ours and theirs < ours
end

local function is_alive(instance) return redis.call('EXISTS', input.heartbeat .. instance) == 1 end

-- Tokens of sessions with TLS end with this; a gateway that writes no tokens has no TLS.
local function is_secure(session) return session and session:sub(-4) == '-tls' end

-- Whether a live session with TLS holds the device on another instance: it belongs to the process that owns the instance
-- id now and has a heartbeat. Sessions of this instance are not checked: the process knows them better.
local function is_held_securely(imei, holder)
  local token = redis.call('HGET', sessions, imei)
  if not is_secure(token) then return false end
  local prefix = (redis.call('GET', input.boots .. holder) or '') .. '-'
  return token:sub(1, #prefix) == prefix and is_alive(holder)
end

local act = {}

function act.first(imei, session)
  local holder = redis.call('HGET', registry, imei)
  if holder and holder ~= us and not is_secure(session) and is_held_securely(imei, holder) then
    return {'INSECURE', holder}
  end
  return take(imei, session, holder)
end

function act.deferred(imei, session)
  local holder = redis.call('HGET', registry, imei)
  local outranks = is_secure(session) and not is_secure(redis.call('HGET', sessions, imei))
  if holder and holder ~= us and not outranks and is_alive(holder) then return {'SUPERSEDED', holder} end
  return take(imei, session, holder)
end

function act.remove(imei, session)
  local holder = redis.call('HGET', registry, imei)
  local token = redis.call('HGET', sessions, imei)
  if token and is_older(token, session) then token = session end
  local removed = holder == us and (not token or token == session)
  if removed then redis.call('HDEL', registry, imei) end
  -- A gateway that writes no tokens may hold the entry by now: our token must not stay behind it.
  if token == session then redis.call('HDEL', sessions, imei) end
  return {removed and 'REMOVED' or 'KEPT', holder or ''}
end

if owner and owner ~= input.boot then return 'FENCED' end

local results = {}
for index, call in ipairs(input.calls) do
  local result = act[call[1]](call[2], call[3])
  -- A set that cannot be read (a key of another type) must not keep a device from being registered.
  result[3] = redis.pcall('SISMEMBER', speakers, call[2]) == 1 and 'speaks' or ''
  results[index] = result
end
return results
