-- Put the command of a dead letter back on the stream of a gateway, under another id, and remove its letter.
--
-- KEYS  1 dead letters  2 the entries that are kept of them. A key that is declared needs all rights; of the others
--       the operator has only those that are used.
-- ARGV  1 id of the letter  2 id of the kept entry  3 id of the command to be  4 the ledger of the command that was
--       5 the outbound entry that was given up  6 epoch ms when the command is to expire, or empty: as it was said
--       7 an instance that takes the command if it waits for its device, or empty  8 registry
--       9 prefix of heartbeats  10 prefix of outbound streams
-- Returns {'OK', instance, entry} or {why not}, with nothing changed.
--
-- The write that memory pressure can refuse comes first: a refused call leaves nothing behind.

local letters, entries = KEYS[1], KEYS[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function is_alive(instance) return redis.call('EXISTS', ARGV[9] .. instance) == 1 end

if not redis.call('XRANGE', letters, ARGV[1], ARGV[1])[1] then return {'NO_LETTER'} end
local kept = redis.call('XRANGE', entries, ARGV[2], ARGV[2])[1]
if not kept then return {'NOT_KEPT'} end

-- Another entry of the same command may have been processed since: then the command is not lost. A key that is no
-- ledger says nothing.
local owner = redis.pcall('HGET', ARGV[4], 'outbound_id')
if type(owner) == 'string' and owner ~= ARGV[5] then return {'KNOWN'} end

local fields, known = {'command_id', ARGV[3]}, {}
for place = 1, #kept[2], 2 do
  local name, text = kept[2][place], kept[2][place + 1]
  if name == 'expires_at' and ARGV[6] ~= '' then text = ARGV[6] end
  fields[#fields + 1] = name
  fields[#fields + 1] = text
  known[name] = text
end
if tonumber(known.expires_at) <= now then return {'EXPIRED'} end

local to = redis.call('HGET', ARGV[8], known.imei)
if not (to and is_alive(to)) then
  to = known.offline == 'wait' and ARGV[7] or ''
  if to == '' or not is_alive(to) then return {'NOT_CONNECTED'} end
end
local entry = redis.call('XADD', ARGV[10] .. to, '*', unpack(fields))
redis.call('XDEL', letters, ARGV[1])
redis.call('XDEL', entries, ARGV[2])
return {'OK', to, entry}
