-- Append session events, and notes about them, to a stream.
--
-- KEYS  1 the stream, and where it is the log of commands  2 the index of the entries that no command asked for
-- ARGV  per entry: the number of its names and values, and these in turn
-- Returns the number of entries appended, or {that number, error} when one could not be.

local stored, at, last = 0, 1, #ARGV

-- The ids of the index never fall, so when the log was renamed and begins anew with lower ids, so does the index.
local function index(id)
  local reply = redis.pcall('XADD', KEYS[2], id, '', '')
  if type(reply) == 'table' and string.find(tostring(reply.err), 'equal or smaller', 1, true) then
    redis.pcall('DEL', KEYS[2])
    redis.pcall('XADD', KEYS[2], id, '', '')
  end
end

while at <= last do
  local count = tonumber(ARGV[at])
  local id = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  if type(id) == 'table' then return {stored, id.err} end
  if KEYS[2] then index(id) end
  stored = stored + 1
  at = at + 1 + count
end
return stored
