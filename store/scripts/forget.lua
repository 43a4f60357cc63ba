-- Forget an instance that has died and left nothing.
--
-- KEYS  1 instances  2 its heartbeat  3 its outbound stream
-- ARGV  1 the instance
-- Returns 1, or 0 when it has a heartbeat again or its stream holds an entry.

if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('XLEN', KEYS[3]) > 0 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
