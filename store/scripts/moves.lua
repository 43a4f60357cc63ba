-- Carry out a batch of moves, each atomically with its event.
--
-- KEYS  1 responses  2 deadletter  3 our boot  4 registry  5 devices that speak by themselves  6 devices for which
--       commands are parked  7.. ledgers
-- ARGV  1 JSON: {boot, dead, outbound, parked and heartbeat = prefixes of such keys, group, retention, maxlen,
--       names = of the fields that every event has, moves = [...]}. An entry is {instance, id, device}: on the stream
--       of an instance, or, if that is empty, on the parked stream of a device. An event is the values of these
--       fields, and then names and values in turn of those that only some events have. A note is names and values.
-- Returns {now_ms, {result, ...}} with result = 1 for an opening or a step that was made and of which there is nothing
-- else to say, or {status, state, seq, session_id, accepted_at, token, detail, codec, hops, parked_id}, or
-- {now_ms, 'FENCED'} when another process owns our instance id, or {now_ms, 'ALIVE'} when the instance whose commands
-- are being adopted has a heartbeat again.
--
-- The script compares `seq`, state, owner and token: an entry can have been ended elsewhere at the very `seq` at
-- which a move takes it for begun. It does not know the states of a command or its edges.
-- Within one move the write that memory pressure can refuse (XADD to the log) comes first: a refused move
-- leaves nothing behind.

local responses, deadletter, boot, registry, serial, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local input = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number) return string.format('%d', number) end

local function rfc3339(ms)
  local seconds = math.floor(ms / 1000)
  local days = math.floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, math.floor(rest / 3600),
    math.floor(rest / 60) % 60, rest % 60, ms - seconds * 1000)
end

local at = rfc3339(now)

-- Most fleets have no devices of these kinds: then none is looked for.
local any_serial = redis.call('EXISTS', serial) == 1
local any_waiting = redis.call('EXISTS', waiting) == 1

local function outbound(instance) return input.outbound .. instance end

local function heartbeat(instance) return input.heartbeat .. instance end

local function parked(imei) return input.parked .. imei end

-- The live instance, other than this one, that the registry names as the holder of a device.
local function held_elsewhere(imei, instance)
  local holder = redis.call('HGET', registry, imei)
  if holder and holder ~= instance and redis.call('EXISTS', heartbeat(holder)) == 1 then return holder end
end

-- Append `length` names and values, which are followed by the time.
local function append(fields, length, accepted)
  fields[length + 1], fields[length + 2] = 'at', at
  if not accepted then return redis.call('XADD', responses, '*', unpack(fields, 1, length + 2)) end
  fields[length + 3], fields[length + 4] = 'age_ms', whole(math.max(0, now - accepted))
  return redis.call('XADD', responses, '*', unpack(fields, 1, length + 4))
end

local function append_note(note) return append(note, #note) end

-- The names of what every event has stay in their places in this one table, and only the values change.
local entry, place, width = {}, {}, #input.names
for index, name in ipairs(input.names) do
  entry[2 * index - 1], place[name] = name, index
end

local function append_event(event, accepted)
  local length = 2 * width
  for index = 1, width do entry[2 * index] = event[index] end
  for index = width + 1, #event do
    length = length + 1
    entry[length] = event[index]
  end
  return append(entry, length, accepted)
end

-- What the ledger does not take has not happened: its event is taken back, and the move can be made again.
local function unless_refused(id, reply)
  if type(reply) == 'table' and reply.err then
    redis.call('XDEL', responses, id)
    error(reply.err, 0)
  end
  return reply
end

local function keep(id, ledger, ...) unless_refused(id, redis.pcall('HSET', ledger, ...)) end

local function remove(instance, id, device)
  if instance ~= '' then
    redis.call('XACK', outbound(instance), input.group, id)
    redis.call('XDEL', outbound(instance), id)
    return
  end
  redis.call('XDEL', parked(device), id)
  if redis.call('XLEN', parked(device)) == 0 then
    redis.call('DEL', parked(device))
    redis.call('ZREM', waiting, device)
  end
end

local function read(ledger)
  local found = redis.call('HMGET', ledger, 'state', 'seq', 'token', 'instance_id', 'outbound_id', 'session_id',
    'accepted_at', 'codec', 'hops', 'parked_id')
  if not found[1] then return nil end
  return {state = found[1], seq = tonumber(found[2]) or 0, token = found[3] or '', instance = found[4],
    entry = found[5], session = found[6] or '', accepted = tonumber(found[7]),
    codec = found[8] or '', hops = tonumber(found[9]) or 0, parked = found[10] or ''}
end

local function report(status, seen, detail)
  if not seen then return {status, '', 0, '', 0, '', detail or '', '', 0, ''} end
  return {status, seen.state, seen.seq, seen.session, seen.accepted or 0, seen.token, detail or '', seen.codec,
    seen.hops, seen.parked}
end

-- What leaves with a move beside its own entry, as the entry of a cancel does.
local function remove_others(move)
  for _, other in ipairs(move.remove or {}) do remove(unpack(other)) end
end

local function finish(ledger, move)
  if move.event[place.terminal] == '1' then
    redis.call('PEXPIRE', ledger, input.retention)
    remove(move.instance, move.entry, move.device)
  end
  if move.remove then remove_others(move) end
end

local function is_listed(instance, id, device)
  local stream = instance ~= '' and outbound(instance) or parked(device)
  return #redis.call('XRANGE', stream, id, id) > 0
end

local function owns(move, seen) return seen.instance == move.instance and seen.entry == move.entry end

-- Whether the command is where a move expects it that changes its place and not its state.
local function stays(move, seen)
  return seen.seq == move.seq and seen.state == move.prev and owns(move, seen)
end

-- A ledger begins with the event of `id`.
local function begin(ledger, move, id, accepted)
  local event = move.event
  keep(id, ledger, 'state', event[place.state], 'seq', event[place.seq], 'token', move.token, 'last', id,
    'session_id', event[place.session_id], 'codec', event[place.codec], 'accepted_at', whole(accepted),
    'instance_id', move.instance, 'outbound_id', move.entry, 'imei', event[place.imei], 'first', id,
    unpack(move.ledger))
end

local act = {}

function act.open(move, ledger)
  local seen = redis.call('EXISTS', ledger) == 1 and read(ledger)
  if seen then return report(owns(move, seen) and 'REDELIVERED' or 'DUPLICATE', seen) end
  begin(ledger, move, append_event(move.event, now), now)
  finish(ledger, move)
  return 1
end

-- A set that cannot be read (a key of another type) must not keep a command from being sent.
local function speaks(imei)
  return any_serial and redis.pcall('SISMEMBER', serial, imei) == 1 and 'speaks' or nil
end

-- Whether commands are parked for the device, which come before the others. A stream that cannot be read (a key of
-- another type) must not keep them from being sent.
local function is_awaited(imei)
  if not any_waiting or not tonumber(redis.pcall('ZSCORE', waiting, imei)) then return false end
  local length = redis.pcall('XLEN', parked(imei))
  return type(length) == 'number' and length > 0
end

function act.step(move, ledger)
  local seen, event = read(ledger), move.event
  if not seen and not move.ledger then return report('MISSING') end
  local known = move.imei and speaks(move.imei)
  if seen then
    if seen.token == move.token then return report('ALREADY', seen, known) end
    local stands = seen.seq == event[place.seq] - 1 and seen.state == event[place.prev]
    if not (stands and owns(move, seen)) then return report('CONFLICT', seen) end
  end
  if move.imei then
    local holder = held_elsewhere(move.imei, move.instance)
    if holder then return report('HELD_ELSEWHERE', seen, holder) end
    if is_awaited(move.imei) then return report('PARKED', seen, known) end
    if known and move.by_default then return report('SERIAL', seen, known) end
  end
  local accepted = seen and seen.accepted or move.accepted
  local id = append_event(event, accepted)
  if seen then
    keep(id, ledger, 'state', event[place.state], 'seq', event[place.seq], 'token', move.token, 'last', id,
      'session_id', event[place.session_id], 'codec', move.codec or seen.codec)
  else
    begin(ledger, move, id, accepted)
  end
  finish(ledger, move)
  return known and report('OK', seen, known) or 1
end

function act.remark(move, ledger)
  if move.remove and not is_listed(unpack(move.remove[1])) then return report('ALREADY') end
  local id = append_note(move.note)
  -- Whoever reads the index can do without an id; the note must not be appended again because of it.
  if move.unasked then redis.pcall('XADD', input.unasked, id, '', '') end
  if ledger and redis.call('EXISTS', ledger) == 1 then redis.call('HSET', ledger, 'last', id) end
  remove_others(move)
  return report('OK')
end

function act.transfer(move, ledger)
  local seen = read(ledger)
  if not seen then return report('MISSING') end
  if seen.token == move.token then return report('ALREADY', seen, seen.entry) end
  if not stays(move, seen) then return report('CONFLICT', seen) end
  if move.instance == '' then
    if held_elsewhere(move.device, move.to) then return report('HELD_ELSEWHERE', seen) end
  elseif redis.call('EXISTS', heartbeat(move.to)) == 0 then
    return report('HELD_ELSEWHERE', seen)
  end
  local id = append_note(move.note)
  local entry = redis.call('XADD', outbound(move.to), '*', unpack(move.fields))
  redis.call('HSET', ledger, 'instance_id', move.to, 'outbound_id', entry, 'token', move.token, 'last', id,
    'hops', whole(seen.hops + 1), 'parked_id', move.instance == '' and move.entry or '')
  remove(move.instance, move.entry, move.device)
  return report('OK', seen, entry)
end

-- A new stream takes 4 KiB, however short its entry is; a copy of it takes what it needs. If it cannot be copied it
-- stays as it is.
local function shrink(stream)
  if redis.call('XLEN', stream) == 1 and redis.pcall('COPY', stream, stream .. ':copy', 'REPLACE') == 1 then
    redis.call('RENAME', stream .. ':copy', stream)
  end
end

-- The index is written first: an index without an entry does no harm, an entry without an index would not be found.
function act.park(move, ledger)
  local seen = read(ledger)
  if not seen then return report('MISSING') end
  if seen.token == move.token then return report('ALREADY', seen) end
  if not stays(move, seen) then return report('CONFLICT', seen) end
  local holder = held_elsewhere(move.imei, move.instance)
  if holder then return report('HELD_ELSEWHERE', seen, holder) end
  local stream = parked(move.imei)
  if move.limit > 0 and redis.call('XLEN', stream) >= move.limit then return report('FULL', seen) end
  local first = redis.call('ZSCORE', waiting, move.imei)
  if not first or move.expires < tonumber(first) then redis.call('ZADD', waiting, whole(move.expires), move.imei) end
  any_waiting = true
  local id = append_note(move.note)
  local entry = unless_refused(id, redis.pcall('XADD', stream, '*', unpack(move.fields)))
  keep(id, ledger, 'instance_id', '', 'outbound_id', entry, 'token', move.token, 'last', id,
    'hops', '0', 'parked_id', '')
  remove(move.instance, move.entry)
  shrink(stream)
  return report('OK', seen)
end

-- A command given up must not leave a ledger that looks alive, nor none, or its id would count as new when it is
-- asked again; unless its key is not a ledger at all.
local function bury(move, ledger, last)
  local found = redis.pcall('HLEN', ledger)
  if type(found) ~= 'number' then return end
  if found == 0 then
    redis.call('HSET', ledger, 'session_id', '', 'accepted_at', whole(now), 'first', last)
  end
  redis.call('HSET', ledger, 'state', move.state, 'seq', whole(move.seq), 'token', '', 'last', last,
    'instance_id', move.instance, 'outbound_id', move.entry)
  redis.call('PEXPIRE', ledger, input.retention)
end

-- Keep the entry of a command that can be put back, and say in its letter where and until when. A letter is more
-- important than this: one whose entry cannot be kept is written all the same.
local function keep_entry(move)
  redis.pcall('XTRIM', input.kept, 'MINID', whole(now - input.kept_for))
  local id = redis.pcall('XADD', input.kept, 'MAXLEN', input.kept_maxlen, '*', unpack(move.kept))
  if type(id) ~= 'string' then return nil end
  redis.call('PEXPIRE', input.kept, input.kept_for)
  for _, text in ipairs({'kept_id', id, 'kept_until', whole(now + input.kept_for)}) do
    move.fields[#move.fields + 1] = text
  end
  return id
end

function act.discard(move, ledger)
  if not is_listed(move.instance, move.entry, move.device) then return report('ALREADY') end
  local kept = move.kept and keep_entry(move)
  if move.fields then
    local letter = redis.pcall('XADD', deadletter, 'MAXLEN', '~', input.maxlen, '*', unpack(move.fields))
    if type(letter) == 'table' then
      if kept then redis.call('XDEL', input.kept, kept) end
      error(letter.err, 0)
    end
  end
  local last
  for _, event in ipairs(move.events) do last = append_event(event) end
  if last then bury(move, ledger, last) end
  remove(move.instance, move.entry, move.device)
  return report('OK')
end

local owner = redis.call('GET', boot)
if owner and owner ~= input.boot then return {now, 'FENCED'} end
if input.dead and redis.call('EXISTS', heartbeat(input.dead)) == 1 then return {now, 'ALIVE'} end

local results, broken = {}, {}
for index, move in ipairs(input.moves) do
  local ledger = move.key and KEYS[6 + move.key]
  -- A move that builds on one that has just failed must not be judged against a ledger that lacks it: it
  -- shares the fate of that one.
  local done, result = false, ledger and broken[ledger]
  if not result then done, result = pcall(act[move.act], move, ledger) end
  if not done then
    if type(result) == 'table' then result = result.err end
    if ledger then broken[ledger] = tostring(result) end
    result = report('ERROR', nil, tostring(result))
  end
  results[index] = result
end
return {now, results}
