-- Sets for devices when the first of their parked commands expires.
--
-- KEYS  1 devices for which commands are parked  2.. their parked streams
-- ARGV  their IMEIs, in the same order
-- A device without a parked command leaves the set, and its stream goes. An entry without a time counts as due.

for index, imei in ipairs(ARGV) do
  local stream, first = KEYS[index + 1], nil
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
    local expires = 0
    for at = 1, #entry[2], 2 do
      if entry[2][at] == 'expires_at' then expires = tonumber(entry[2][at + 1]) or 0 end
    end
    first = math.min(first or expires, expires)
  end
  if first then
    redis.call('ZADD', KEYS[1], string.format('%d', first), imei)
  else
    redis.call('DEL', stream)
    redis.call('ZREM', KEYS[1], imei)
  end
end
return #ARGV
