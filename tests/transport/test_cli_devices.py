"""``telgw devices``: who is online, by the registry and the heartbeats, and what is known of a device."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fakeredis
import pytest
from click.testing import Result

from fsm.device_status import DeviceStatus, HoldStatus, LastRecord
from store.fleet.device_status import status_json
from store.keys import Keys
from tests.transport.command_line import Telgw
from transport.cli.times import duration

KEYS = Keys()
IMEI, OTHER, THIRD = (f"35209308145225{number}" for number in range(3))
NOON = 1_767_268_800_000
"""2026-01-01 12:00 UTC."""
STATUS = DeviceStatus(
    instance_id="gw-1",
    session_id="b1-7",
    state="ready",
    peer="10.0.0.1:40000",
    connected_at=NOON,
    last_seen_at=NOON + 60_000,
    frames=3,
    records=5,
    last=LastRecord(timestamp=NOON, latitude=54.6872001, longitude=-25.25, speed=51, satellites=9),
)


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    """An in-memory Redis with one live gateway."""
    client = fakeredis.FakeRedis(server=fake_server)
    alive(client, "gw-1", "b1")
    return client


@pytest.fixture
def devices(telgw_on_redis: Telgw) -> Telgw:
    """``telgw devices`` in a terminal of 80 columns."""

    def run(*args: object, columns: int = 80) -> Result:
        return telgw_on_redis("devices", *args, env={"COLUMNS": str(columns), "TZ": "UTC"})

    return run


def alive(redis: Any, instance_id: str, boot: str) -> None:
    redis.hset(KEYS.instances, instance_id, "1")
    redis.set(KEYS.heartbeat(instance_id), "1")
    redis.set(KEYS.boot(instance_id), boot)


def held(
    redis: Any, imei: str, status: DeviceStatus | None = None, token: str = "b1-7", by: str = "gw-1"
) -> None:
    redis.hset(KEYS.registry, imei, by)
    redis.hset(KEYS.sessions, imei, token)
    if status:
        redis.hset(KEYS.status, imei, status_json(status))


def ask(redis: Any, command_id: str, imei: str, state: str = "queued", by: str = "gw-1") -> None:
    entry = redis.xadd(KEYS.outbound(by), {"command_id": command_id, "imei": imei, "payload": "setdigout 1"})
    ledger = {"state": state, "instance_id": by, "outbound_id": entry, "accepted_at": NOON}
    redis.hset(KEYS.ledger(command_id), mapping=ledger)


def lines(result: Result) -> dict[str, dict[str, Any]]:
    return {one["imei"]: one for one in map(json.loads, result.stdout.splitlines())}


@pytest.mark.parametrize(
    ("token", "by", "online"),
    [
        ("b1-7 10.0.0.1:40000 plain", "gw-1", True),
        ("b1-7", "gw-1", True),
        ("b0-7", "gw-1", False),
        ("b1-7", "gw-2", False),
        ("", "gw-1", True),
    ],
    ids=[
        "here",
        "of a gateway of an earlier version",
        "of an earlier process",
        "its gateway has no heartbeat",
        "of a gateway without tokens",
    ],
)
def test_a_device_is_online_while_a_live_process_holds_it(
    devices: Telgw, redis: Any, token: str, by: str, online: bool
) -> None:
    held(redis, IMEI, STATUS, token, by)
    assert lines(devices("--json"))[IMEI]["online"] is online
    assert (IMEI in devices("--online").stdout) is online
    assert (IMEI in devices("--offline").stdout) is not online


def test_a_device_of_which_only_the_registry_knows_is_shown(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI)
    redis.hset(KEYS.status, OTHER, "{")
    found = lines(devices("--json"))
    assert found[IMEI] == {
        "imei": IMEI,
        "online": True,
        "instance_id": "gw-1",
        "state": "online",
        "commands": [],
        "streams": ["telemetry:records"],
    }
    assert found[OTHER]["state"] == "offline"


def test_the_table_fits_a_terminal_and_uses_a_wide_one(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI, replace(STATUS, state="tainted"))
    redis.hset(KEYS.status, OTHER, status_json(replace(STATUS, state="closed", disconnected_at=NOON)))
    ask(redis, "c-1", IMEI)
    narrow, wide = devices().stdout, devices(columns=200).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    for part in (IMEI, "tainted", OTHER, "offline", "54.68720 -25.25000", "gw-1"):
        assert part in narrow
    assert "1 online, 1 offline" in narrow
    for part in ("10.0.0.1:40000", "2026-01-01 12:00:00+0000"):
        assert part in wide
        assert part not in narrow


def test_a_sheet_shows_all_that_is_known_of_one_device(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI, STATUS)
    ask(redis, "c-1", IMEI, "sent")
    ask(redis, "c-2", IMEI)
    shown = devices(IMEI, "--utc").stdout
    for part in ("54.687200 -25.250000, 51 km/h, 9 satellites", "b1-7 ready", "2026-01-01 12:00:00+0000"):
        assert part in shown
    assert "c-1  sent  for" in shown
    assert "c-2  queued  for" in shown
    assert "an earlier command for the device has not ended" in shown
    assert "setdigout" not in shown


DOUBT = HoldStatus(
    disputed=True,
    since=NOON,
    until=NOON + 10**12,
    changes=2,
    before="10.0.0.2",
    before_auth="plain",
    before_instance="gw-2",
)
CLAIMS = f"{NOON + 1000} 10.0.0.1 plain\n{NOON} 10.0.0.2 plain\n0 10.0.0.1 plain"


def test_devices_that_have_changed_hands_are_shown_with_both_peers(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI, replace(STATUS, hold=DOUBT))
    redis.set(KEYS.claims(IMEI), CLAIMS)
    redis.hset(KEYS.status, OTHER, status_json(replace(STATUS, state="closed")))
    redis.set(KEYS.claims(OTHER), f"{NOON} 2001:db8::1 cert:{'ab' * 32}\n0 10.0.0.3 plain")
    held(redis, THIRD, STATUS)
    shown = devices("--disputed").stdout
    assert max(map(len, shown.splitlines())) <= 80
    [_, first, second, count] = shown.splitlines()
    for part in (IMEI, "disputed", "10.0.0.1 plain", "10.0.0.2 plain"):
        assert part in first
    for part in (OTHER, "before", "2001:db8::1 cert:abababab ", "10.0.0.3 plain"):
        assert part in second
    assert count == "2 have changed hands"
    found = lines(devices("--disputed", "--json"))
    assert set(found) == {IMEI, OTHER}
    assert found[IMEI]["hold"]["before_instance"] == "gw-2"
    assert found[IMEI]["claims"][0] == {"at": NOON + 1000, "address": "10.0.0.1", "auth": "plain"}
    assert "disputed" in devices("--online").stdout


def test_a_sheet_tells_who_has_claimed_the_device(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI, replace(STATUS, hold=DOUBT))
    redis.set(KEYS.claims(IMEI), CLAIMS)
    shown = devices(IMEI, "--utc").stdout
    assert "disputed: commands end as identity_disputed until 20" in shown
    assert "claimed by  10.0.0.1 plain, 2026-01-01 12:00:01+0000" in shown
    assert "10.0.0.2 plain, 2026-01-01 12:00:00+0000" in shown


def test_claims_that_cannot_be_read_hide_no_device(devices: Telgw, redis: Any) -> None:
    held(redis, IMEI, STATUS)
    redis.set(KEYS.claims(IMEI), "\x1b[2J")
    assert "claims" not in lines(devices("--json", IMEI))[IMEI]
    result = devices("--disputed")
    assert (result.exit_code, result.stderr) == (4, "telgw: No device has changed hands lately.\n")


def test_devices_are_chosen_sorted_and_limited(devices: Telgw, redis: Any) -> None:
    for number, imei in enumerate((IMEI, OTHER, THIRD)):
        held(redis, imei, replace(STATUS, last_seen_at=NOON + number))
    alive(redis, "gw-2", "b2")
    held(redis, "1", replace(STATUS, instance_id="gw-2"), "b2-1", "gw-2")
    assert list(lines(devices("--json", "--sort", "heard", "--instance", "gw-1"))) == [THIRD, OTHER, IMEI]
    assert list(lines(devices("--json", THIRD, IMEI))) == [IMEI, THIRD]
    limited = devices("--limit", 1, "--instance", "gw-2").stdout
    assert "more" not in limited
    assert "3 more: --limit" in devices("--limit", 1).stdout


@pytest.mark.parametrize("imeis", [(), (OTHER,), (IMEI, OTHER)])
def test_a_device_that_is_not_known_ends_with_status_4(
    devices: Telgw, redis: Any, imeis: tuple[str, ...]
) -> None:
    if IMEI in imeis:
        held(redis, IMEI)
    result = devices(*imeis)
    assert result.exit_code == 4
    assert result.stderr.startswith("telgw: ")


def test_text_from_redis_cannot_control_the_terminal(devices: Telgw, redis: Any) -> None:
    held(redis, "\x1b[2J", replace(STATUS, peer="\x1b]0;x\x07"), by="gw-1")
    assert "\x1b" not in devices(columns=200).stdout + devices("\x1b[2J").stdout


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, "0s"),
        (59_999, "59s"),
        (60_000, "1m"),
        (61_000, "1m1s"),
        (3_600_000, "1h"),
        (90_061_000, "1d1h"),
        (-5, "0s"),
    ],
)
def test_a_time_span_has_two_units(milliseconds: int, shown: str) -> None:
    assert duration(milliseconds) == shown


@pytest.mark.parametrize("word", ["x", "35209308145225", "3520930814522512", "--all"])
def test_a_word_that_is_no_imei_is_wrong_use(telgw_on_redis: Telgw, word: str) -> None:
    assert telgw_on_redis("devices", word).exit_code == 2
