-- Append records and messages, frame by frame, and stop at the first that cannot be stored.
--
-- KEYS  1 records  2 undecodable, and in a call that carries messages  3 messages  4 devices that speak by themselves
-- ARGV  1 instance_id  2 cap of undecodable, then per frame:
--       field ('data' or 'frame', 'reason' for an undecodable frame, 'message', or 'serial' for messages that show
--       that the device speaks by itself), imei, codec, session_id, received_at (or the reason), number of bodies,
--       body ...
--       The body of a message is a JSON array: names and values of its own fields in turn.
-- Returns the number of entries stored, or {that number, error} when one could not be.

local records, undecodable, messages, serial = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local us, cap = ARGV[1], ARGV[2]
local stored, at, last = 0, 3, #ARGV

local function append_message(field, imei, codec, session, stamp, body)
  -- What keeps a device from being remembered (a key of another type) must not cost its message.
  if field == 'serial' then redis.pcall('SADD', serial, imei) end
  return redis.pcall('XADD', messages, '*', 'imei', imei, 'codec', codec, 'instance_id', us,
    'session_id', session, 'received_at', stamp, unpack(cjson.decode(body)))
end

while at <= last do
  local field, imei, codec, session = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local stamp, count = ARGV[at + 4], tonumber(ARGV[at + 5])
  for index = at + 6, at + 5 + count do
    local reply
    if field == 'reason' then
      reply = redis.pcall('XADD', undecodable, 'MAXLEN', '~', cap, '*', 'imei', imei, 'codec', codec,
        'session_id', session, 'reason', stamp, 'frame', ARGV[index])
    elseif field == 'message' or field == 'serial' then
      reply = append_message(field, imei, codec, session, stamp, ARGV[index])
    else
      reply = redis.pcall('XADD', records, '*', 'imei', imei, 'codec', codec, 'instance_id', us,
        'session_id', session, 'received_at', stamp, field, ARGV[index])
    end
    if type(reply) == 'table' then return {stored, reply.err} end
    stored = stored + 1
  end
  at = at + 6 + count
end
return stored
