"""Mutants of what people and programs write: entries, logs, lists of devices, configuration files."""

from __future__ import annotations

from random import Random

from tests.fuzz import contract
from tests.fuzz.contract import DAY_MS, ENTRY_MS, Fields, read_fields, read_log, spell_fields, spell_log
from tests.fuzz.frame_mutants import IMEI
from tests.fuzz.mutations import Pool, edge, mutate

FORGED = ("accepted_at", "hops", "instance_id", "seq")
"""Fields of the ledger: an entry that has them says nothing by them."""
NAMES = tuple(name.encode() for name in (*contract.KNOWN, *FORGED, *contract.ECHOED, "unknown"))
WORDS = (
    *(b"", b"null", b"undefined", b"NULL", b"0", b"1", b"12", b"14", b"012", b"command", b"cancel", b"-1"),
    *(b" getinfo", b"getinfo\n", b"setparam 2001:web", b"\xff\xfe", "päivä".encode(), b"\xc2\xa0", b"\0"),
    *(b"c-1", b"a" * 64, b"a" * 65, b"x" * 256, b"x" * 512, b"x" * 513, "é".encode() * 200, b"x" * 65_537),
    *(IMEI.encode(), IMEI.encode() + b"0", "٣".encode() * 15, b"1e3", b"0x10", b"+5", b"1_000", b"NaN"),
    *(b"0.1", b"0.09", b"3600", b"3600.000001", b"0.0999999", b"0.123456", b"1.", b".5", b"00.5", b"1e1"),
    *(b"9" * 16, b"9" * 17, b"999999999999", b"1000000000000", b"0" * 16, "\uff11".encode() * 13),
)

LOG_NAMES = (
    *(b"kind", b"command_id", b"seq", b"state", b"prev", b"trigger", b"terminal", b"outcome", b"last"),
    *(
        b"reason",
        b"detail",
        b"delivery",
        b"imei",
        b"codec",
        b"instance_id",
        b"session_id",
        b"outbound_id",
        b"at",
    ),
    *(
        b"note",
        b"note_id",
        b"age_ms",
        b"rtt_ms",
        b"response",
        b"response_hex",
        b"truncated",
        b"peer",
        b"last",
    ),
)
LOG_WORDS = (
    *(b"command", b"note", b"session", b"queued", b"sent", b"responded", b"failed", b"timeout", b"new"),
    *(
        b"accept",
        b"send",
        b"respond",
        b"fail",
        b"1",
        b"2",
        b"3",
        b"-1",
        b" 1",
        b"1_0",
        b"9" * 5000,
        b"9" * 5000 + b"-1",
    ),
    *(b"", b"[/b]", b"[red]OK[/red]", b":smile:", b"\x1b[31m", b"a\r\nb", "\u202eabc".encode(), b"\xff\xfe"),
    *(
        b"c-1",
        b"late_response",
        b"2026-01-01T00:00:00.000Z",
        b"connection_lost",
        "\u0663".encode(),
        b"[link=x]y",
    ),
)


def entry(random: Random, data: bytes, pool: Pool) -> bytes:
    """An outbound entry with a few of its fields changed."""
    if random.random() < 0.1:
        return mutate(random, data, pool)
    fields = read_fields(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        name = random.choice(NAMES)
        if random.random() < 0.1:
            fields.pop(name, None)
        else:
            fields[name] = _value(random, name, fields, pool)
    return spell_fields(fields)


def _value(random: Random, name: bytes, fields: Fields, pool: Pool) -> bytes:
    choice = random.random()
    if name == b"expires_at" and choice < 0.8:
        return _time(random)
    if choice < 0.5:
        return random.choice(WORDS)
    if choice < 0.7:
        return read_fields(random.choice(pool)).get(name, b"")
    return mutate(random, fields.get(name, b"1"), [*fields.values(), b"null"])


def _time(random: Random) -> bytes:
    """A time near a limit, written well or not."""
    if random.random() < 0.4:
        near = random.choice((0, ENTRY_MS, ENTRY_MS + DAY_MS, 10**12, 10**13)) + random.randint(-2, 2)
        return b"%d" % near
    date = b"%04d-%02d-%02d" % (
        random.choice((2030, 2030, 2030, 2030, 1969, 1, 0, 9999)),
        random.choice((3, 3, 3, 2, 0, 12, 13)),
        random.choice((17, 17, 18, 1, 0, 28, 29, 30, 31, 32)),
    )
    clock = b"%02d:%02d:%02d" % (
        random.choice((17, 18, 0, 23, 24, 25)),
        random.choice((46, 46, 0, 59, 60)),
        random.choice((40, 39, 41, 0, 59, 60)),
    )
    parts = (
        date,
        random.choice((b"T", b"T", b"t", b" ", b"_", b"")),
        clock,
        random.choice((b"", b"", b".0", b".999", b".9999999", b".123456789", b".1234567890", b",5", b".")),
        random.choice((b"Z", b"Z", b"z", b"+00:00", b"-00:00", _offset(random), b"", b"+0000", b"+00")),
    )
    return b"".join(parts)


def _offset(random: Random) -> bytes:
    hours, minutes = random.choice((0, 1, 14, 23, 24, 99)), random.choice((0, 30, 59, 60, 99))
    return random.choice((b"+%02d:%02d", b"-%02d:%02d")) % (hours, minutes)


def log(random: Random, data: bytes, pool: Pool) -> bytes:
    """A log some of whose entries are changed, lost, repeated, or of another log."""
    if random.random() < 0.1:
        return mutate(random, data, pool)
    entries = read_log(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randint(0, len(entries))
        choice = random.random()
        if choice < 0.6 and entries:
            _rewrite(random, entries[at % len(entries)])
        elif choice < 0.75:
            entries[at : at + 1] = []
        elif choice < 0.9:
            entries[at:at] = [dict(fields) for fields in entries[at : at + 2]]
        else:
            entries[at:at] = read_log(random.choice(pool))
    return spell_log(entries[:40])


def _rewrite(random: Random, fields: Fields) -> None:
    name = random.choice(LOG_NAMES)
    if random.random() < 0.2:
        fields.pop(name, None)
    elif random.random() < 0.8:
        fields[name] = random.choice(LOG_WORDS)
    else:
        fields[name] = mutate(random, fields.get(name, b"1"), LOG_WORDS)


LIST_LINES = (
    *(IMEI.encode() + b"\n", b"# 352093081452252\n", b"#\x0c352093081452252\n", b"\xef\xbb\xbf", b"\r"),
    *(b"  352093081452251 # bus\r\n", "#\u2028352093081452252\n".encode(), b"35209308145225\n", b"\xff\n"),
    *(b"352093081452251 352093081452252\n", "٣".encode() * 15 + b"\n", b"\x00", b"\x0b352093081452253"),
)


def device_list(random: Random, data: bytes, pool: Pool) -> bytes:
    """A list of devices."""
    if random.random() < 0.4:
        return mutate(random, data, pool)
    lines = data.splitlines(keepends=True)
    at = random.randint(0, len(lines))
    lines[at : at + random.choice((0, 1))] = random.choices(LIST_LINES, k=random.randint(0, 3))
    return b"".join(lines)


CONFIG_VALUES = (
    *(
        b"true",
        b"-1",
        b"0",
        b"1.5",
        b"inf",
        b"nan",
        b'""',
        b'"off"',
        b'"5m"',
        b'"1h30m"',
        b"[]",
        b"{}",
        b"[[1]]",
    ),
    *(
        b"{a=1}",
        b'["127.0.0.1:1"]',
        b'"[::1]:5027"',
        b'":0"',
        b'"x:99999"',
        b'"\\u0000"',
        b"2020-01-01",
        b"'x'",
    ),
    *(
        b'"redis://a:b@c:x/1"',
        b'"redis"',
        b"1e999",
        b"9999999999999999999999",
        b'"\xff"',
        b'["a", 1]',
        b"=",
        b'"',
    ),
)


def config(random: Random, data: bytes, pool: Pool) -> bytes:
    """A configuration file with other values, keys of other files, or damaged text."""
    if random.random() < 0.15:
        return mutate(random, data, pool)
    lines = data.splitlines(keepends=True) + random.choice(pool).splitlines(keepends=True)
    random.shuffle(lines)
    lines = lines[: random.randint(0, 6)]
    if lines:
        at = random.randrange(len(lines))
        lines[at] = lines[at].partition(b"=")[0] + b"= " + _config_value(random) + b"\n"
    return b"".join(lines)


def _config_value(random: Random) -> bytes:
    if random.random() < 0.2:
        return b"%d" % edge(random, 8)
    return random.choice(CONFIG_VALUES)
