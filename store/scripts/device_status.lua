-- Writes what is known of devices, each unless a newer session of the device is known.
--
-- KEYS  1 status
-- ARGV  1 JSON: {limit = most devices, untold = seconds within which a gateway tells that a device has reported,
--               apart = seconds without records between two pairs of times, devices = [[imei, session_id, connected_at, keep, text], ...]}
--       keep: 'no' for a device that has left and of which nothing was stored on this session.
--       text: the JSON of the status; it always begins with a brace and a field. The last record, the time of the first
--       one and the times with records are added from what was known before.
-- Returns the number of devices that were written or removed.
--
-- The fields are found by patterns, without decoding: gateways write them, and a value of another form is replaced.

local status = KEYS[1]
local input = cjson.decode(ARGV[1])
local room = input.limit - redis.call('HLEN', status)
local done = 0

local function is_newer(old, session, connected)
  if old:match('"session_id":"([^"]*)"') == session then return false end
  return (tonumber(old:match('"connected_at":(%d+)')) or 0) > connected
end

-- When the device reported first, as JSON. Gateways of earlier versions have not kept it.
local function first_reported(old, last, text)
  local first = last and (old:match('"first_reported_at":(%d+)') or old:match('"connected_at":(%d+)'))
  if not last and text:find('"last":', 1, true) then first = text:match('"last_seen_at":(%d+)') end
  return first and '"first_reported_at":' .. first .. ',' or ''
end

local MOST = 24  -- pairs of times that are kept of a device

local function number(text, name)
  return text and tonumber(text:match('"' .. name .. '":(%d+)'))
end

-- A list of times, as JSON without brackets, with one more pair, in ms, which may join the last one.
local function with_pair(list, one, other)
  local from, to = math.floor(math.min(one, other) / 1000), math.ceil(math.max(one, other) / 1000)
  local rest, start, last = list:match('^(.-),?(%d+),(%d+)$')
  if last and from - tonumber(last) < input.apart then
    list, from, to = rest, math.min(from, tonumber(start)), math.max(to, tonumber(last))
  end
  list = string.format('%s%s%d,%d', list, list == '' and '' or ',', from, to)
  local _, commas = list:gsub(',', '')
  return commas < 2 * MOST and list or list:match('^%d+,%d+,(.*)$')
end

-- The times with records, as JSON.
local function reported(old, session, text)
  local list = old and old:match('"reported":%[([%d,]*)%]') or ''
  local told, before = number(text, 'told_at'), number(old, 'told_at')
  if told and before and old:match('"session_id":"([^"]*)"') == session then
    if number(text, 'records') ~= number(old, 'records') then list = with_pair(list, before, told) end
  elseif told then
    if before and not old:find('"state":"closed"', 1, true) then
      -- The end of the older session was not told, so its last records were not, either.
      list = with_pair(list, before, math.min(told, before + 1000 * input.untold))
    end
    if number(text, 'records') then list = with_pair(list, number(text, 'connected_at') or told, told) end
  end
  return list ~= '' and '"reported":[' .. list .. '],' or ''
end

for _, device in ipairs(input.devices) do
  local imei, session, connected, keep, text = device[1], device[2], device[3], device[4], device[5]
  local old = redis.call('HGET', status, imei)
  local last = old and old:match('"last":(%b{})')
  if old and is_newer(old, session, connected) then
    -- The device is elsewhere by now.
  elseif keep == 'no' and not last then
    -- Whoever has never reported is not remembered, so that strangers do not fill the hash.
    done = done + redis.call('HDEL', status, imei)
  elseif old or room > 0 then
    local kept = first_reported(old, last, text)
    if last and not text:find('"last":', 1, true) then kept = kept .. '"last":' .. last .. ',' end
    kept = kept .. reported(old, session, text)
    redis.call('HSET', status, imei, '{' .. kept .. text:sub(2))
    if not old then room = room - 1 end
    done = done + 1
  end
end
return done
