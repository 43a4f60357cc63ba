-- Append records, frame by frame, and stop at the first that cannot be stored.
--
-- KEYS  1 records  2 undecodable
-- ARGV  1 instance_id  2 cap of undecodable, then per frame:
--       field ('data' or 'frame', or 'reason' for an undecodable frame), imei, codec,
--       received_at (or the reason), number of bodies, body ...
-- Returns the number of entries stored, or {that number, error} when one could not be.

local records, undecodable = KEYS[1], KEYS[2]
local us, cap = ARGV[1], ARGV[2]
local stored, at, last = 0, 3, #ARGV

while at <= last do
  local field, imei, codec, stamp, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  for index = at + 5, at + 4 + count do
    local reply
    if field == 'reason' then
      reply = redis.pcall('XADD', undecodable, 'MAXLEN', '~', cap, '*', 'imei', imei, 'codec', codec,
        'reason', stamp, 'frame', ARGV[index])
    else
      reply = redis.pcall('XADD', records, '*', 'imei', imei, 'codec', codec, 'instance_id', us,
        'received_at', stamp, field, ARGV[index])
    end
    if type(reply) == 'table' then return {stored, reply.err} end
    stored = stored + 1
  end
  at = at + 5 + count
end
return stored
