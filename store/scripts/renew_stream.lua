-- Delete an empty stream and create it again, so that the ids of its entries begin with the time again.
--
-- KEYS  1 the stream
-- ARGV  1 its group
-- Returns 1, or 0 when the stream holds an entry.

if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
return 1
