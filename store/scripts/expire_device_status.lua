-- Removes devices that nobody holds and that were last heard too long ago, a page at a time.
--
-- KEYS  1 status  2 registry
-- ARGV  1 cursor  2 page size  3 epoch ms: what was last heard before that is removed
-- Returns the next cursor; '0' after the last page.

local status, registry = KEYS[1], KEYS[2]
local oldest = tonumber(ARGV[3])
local page = redis.call('HSCAN', status, ARGV[1], 'COUNT', ARGV[2])
for index = 1, #page[2], 2 do
  local imei, text = page[2][index], page[2][index + 1]
  local seen = tonumber(text:match('"last_seen_at":(%d+)')) or 0
  if seen < oldest and not redis.call('HGET', registry, imei) then redis.call('HDEL', status, imei) end
end
return page[1]
