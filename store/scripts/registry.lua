-- Registers and unregisters sessions, in order.
--
-- KEYS  1 registry  2 sessions  3 our boot  4 instances  5 devices that send serial-port data  6 devices that
--       were seen with a certificate  7 devices for which commands are parked
-- ARGV  1 JSON: {boot, instance, heartbeat, boots, claims and outbound = prefixes of such keys, memory = ms for which
--       claims are kept, kept = the most claims of a device, first = of these, how many are the oldest ones, calls = [[act, imei, session_id, value, claimant], ...]}; a value is a token, with the claimant
--       behind it; a claimant is address and authentication
-- Returns {{status, instance_id, 'speaks' or '', former, claims, 'parked' or ''}, ...}, one per call, or 'FENCED' when another process
-- owns our instance id. `former` is the claimant of the open session that held the device until now, `claims` has a line
-- for each claimant of a device that has changed hands lately, newest first; both may be ''.
--   first     REGISTERED with the former holder ('' for none); or INSECURE with the instance on which a live session with
--             TLS holds the device, if this session has no TLS
--   deferred  REGISTERED, or SUPERSEDED with the instance that holds the entry and is alive
--             and in `former` the claimant of its session
--   vouch     SETTLED: the session has lost the device and its peer was dead; if these two are all who have claimed the
--             device, the claims are forgotten and the holder is told
--   both      UNPROVED if the device was seen with a certificate before and this session has none
--   settle    SETTLED: the claims are forgotten, if the session still holds the device
--   remove    REMOVED, or KEPT because the entry is another instance's, or another session's and not an older one's

local registry, sessions, boot, instances, speakers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local proofs, waiting = KEYS[6], KEYS[7]
local input = cjson.decode(ARGV[1])
local us = input.instance
local known = false
local owner = redis.call('GET', boot)

local function stamp()
  local clock = redis.call('TIME')
  return string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000))
end

-- Producers write to the instance that the registry names, and janitors iterate the known instances. If Redis has lost
-- its data, we may be registered before our next heartbeat, and die before it: so we have to be known. If our id has no
-- owner, our work may have been adopted already, and this may be a delayed call: a new stamp makes janitors adopt again.
local function be_known()
  redis.call(owner and 'HSETNX' or 'HSET', instances, us, stamp())
  known = true
end

-- Gateways of earlier versions write a token alone.
local function token_of(value) return value and value:match('^%S*') end
local function claimant_of(value) return value and value:match('^%S+ (%S+ %S+)') end

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

-- Whether the session of `value` is open as far as is known: it is of this process, or of the process that owns the id
-- of its instance now and has a heartbeat.
local function is_open(value, holder)
  if not (value and holder) then return false end
  local prefix = (holder == us and input.boot or redis.call('GET', input.boots .. holder) or '') .. '-'
  return value:sub(1, #prefix) == prefix and (holder == us or is_alive(holder))
end

-- The claims of the device with this one, which is added if it is another than the last. The first one is of the open
-- session that holds the device.
local function claim(imei, claimant, former)
  local key = input.claims .. imei
  local told = redis.pcall('GET', key)
  if type(told) ~= 'string' then told = former and '0 ' .. former or '' end
  local newest = told:match('^%d+ (%S+ %S+)')
  if not newest then return '' end
  if newest == claimant then return told:find('\n') and told or '' end
  local clock = redis.call('TIME')
  local lines = {string.format('%d %s', clock[1] * 1000 + math.floor(clock[2] / 1000), claimant)}
  for line in told:gmatch('[^\n]+') do lines[#lines + 1] = line end
  while #lines > input.kept do table.remove(lines, #lines - input.first) end
  told = table.concat(lines, '\n')
  redis.pcall('SET', key, told, 'PX', input.memory)
  return told
end

-- Tell the instance of a session that something has changed here, so that it looks now and not at its next heartbeat: it
-- has lost the device, or the claims are settled. One that writes tokens alone would take it for a broken command.
local function tell(imei, value, holder)
  redis.pcall('XADD', input.outbound .. holder, '*', 'type', 'superseded', 'imei', imei, 'session_id', token_of(value))
end

local function take(imei, session, value, claimant, holder)
  if not known then be_known() end
  local before = redis.call('HGET', sessions, imei)
  local open = token_of(before) ~= session and is_open(before, holder)
  local former = open and claimant_of(before) or nil
  if former and holder ~= us then tell(imei, before, holder) end
  if holder ~= us then redis.call('HSET', registry, imei, us) end
  redis.call('HSET', sessions, imei, value)
  return {'REGISTERED', holder or '', '', former or '', claim(imei, claimant, former)}
end

-- The certificate of a claimant, if it has one.
local function certificate_of(claimant) return claimant and claimant:match(' (cert:%S+)$') end

-- Whether the session has no certificate although the device had one. A hash that cannot be read (a key of another type)
-- must not keep a device from being registered, as below.
local function is_unproved(imei, claimant)
  return not certificate_of(claimant) and type(redis.pcall('HGET', proofs, imei)) == 'string'
end

local function remember(imei, claimant)
  local certificate = certificate_of(claimant)
  if certificate then redis.pcall('HSETNX', proofs, imei, certificate .. ' ' .. stamp()) end
end

local act = {}

-- Whether a session with TLS holds the device on another instance. Sessions of this instance are not checked: the process
-- knows them better.
local function is_held_securely(imei, holder)
  local value = redis.call('HGET', sessions, imei)
  return holder and holder ~= us and is_secure(value) and is_open(value, holder)
end

function act.first(imei, session, value, claimant)
  local holder = redis.call('HGET', registry, imei)
  if is_unproved(imei, claimant) then return {'UNPROVED', holder or ''} end
  if not is_secure(session) and is_held_securely(imei, holder) then return {'INSECURE', holder} end
  remember(imei, claimant)
  return take(imei, session, value, claimant, holder)
end

function act.deferred(imei, session, value, claimant)
  local holder = redis.call('HGET', registry, imei)
  if is_unproved(imei, claimant) then return {'UNPROVED', holder or ''} end
  local outranks = is_secure(session) and not is_secure(redis.call('HGET', sessions, imei))
  if holder and holder ~= us and not outranks and is_alive(holder) then
    return {'SUPERSEDED', holder, '', claimant_of(redis.call('HGET', sessions, imei))}
  end
  remember(imei, claimant)
  return take(imei, session, value, claimant, holder)
end

function act.vouch(imei, session, value, claimant)
  local told = redis.pcall('GET', input.claims .. imei)
  if type(told) == 'string' and told:match('^%d+ %S+ %S+\n%d+ (%S+ %S+)$') == claimant then
    redis.call('DEL', input.claims .. imei)
    local holder, held = redis.call('HGET', registry, imei), redis.call('HGET', sessions, imei)
    if holder and claimant_of(held) then tell(imei, held, holder) end
  end
  return {'SETTLED', us}
end

function act.settle(imei, session)
  if token_of(redis.call('HGET', sessions, imei)) == session then redis.call('DEL', input.claims .. imei) end
  return {'SETTLED', us}
end

function act.remove(imei, session)
  local holder = redis.call('HGET', registry, imei)
  local token = token_of(redis.call('HGET', sessions, imei))
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
  local result = act[call[1]](call[2], call[3], call[4], call[5])
  -- A set that cannot be read (a key of another type) must not keep a device from being registered.
  result[3] = redis.pcall('SISMEMBER', speakers, call[2]) == 1 and 'speaks' or ''
  result[4], result[5] = result[4] or '', result[5] or ''
  result[6] = tonumber(redis.pcall('ZSCORE', waiting, call[2])) and 'parked' or ''
  results[index] = result
end
return results
