-- Makes calls and tells which of them this user may not make. The calls are chosen so that they leave nothing.
-- KEYS: the key that is written to and deleted again; the calls name others of the same slot, too
-- ARGV: the calls, as JSON
-- Returns the numbers of the refused calls, from 1, or the error of a cluster that has the keys in several slots.
local refused = {}
for number, call in ipairs(cjson.decode(ARGV[1])) do
  local reply = redis.pcall(unpack(call))
  local said = type(reply) == 'table' and reply.err or ''
  if string.find(said, 'same slot', 1, true) or string.find(said, 'non local key', 1, true) then return reply end
  for _, word in ipairs({'NOPERM', 'ACL failure', 'o permissions', "can't run this", "can't access at"}) do
    if string.find(said, word, 1, true) then
      refused[#refused + 1] = number
      break
    end
  end
end
return refused
