"""``telgw records``: what a device has reported, as a table, as JSON, on a map."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import fakeredis
import pytest
from click.testing import Result

from store.streams.producer import LogEntry, Producer
from tests.transport.command_line import Telgw
from transport.teltonika.avl import Record, encode_avl
from transport.teltonika.frame import CODEC_8E
from transport.teltonika.record_json import record_json

IMEI, OTHER = "352093081452251", "352093081452252"
NOON = 1_767_268_800_000
"""2026-01-01 12:00 UTC."""


def record(number: int, **more: Any) -> Record:
    io = {239: (1, 1), 66: (2, 12_345), 72: (4, 0xFFFFFF9C), 60_000: (1, 7)}
    place = {"longitude": 25.25 + number, "latitude": 54.5, "satellites": 9, "speed": 50, "altitude": 111}
    return Record.of(timestamp=NOON + 1000 * number, event_id=239, io=io, **{**place, **more})


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> fakeredis.FakeRedis:
    """An imitation where the device is connected, and no gateway tells when it has reported."""
    client = fakeredis.FakeRedis(server=fake_server)
    client.hset("connections:registry", IMEI, "gw-1")
    return client


@pytest.fixture
def records(telgw_on_redis: Telgw) -> Telgw:
    """``telgw records`` in a terminal of 200 columns."""

    def run(*args: object, columns: int = 200) -> Result:
        return telgw_on_redis("records", *args, env={"COLUMNS": str(columns), "TZ": "UTC"})

    return run


def store(redis: Any, imei: str, *records: Record) -> None:
    for one in records:
        fields = {
            "imei": imei,
            "codec": "8E",
            "instance_id": "gw-1",
            "received_at": "1",
            "data": record_json(one),
        }
        redis.xadd("telemetry:records", fields)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_records_of_one_device_come_newest_first(records: Telgw, redis: Any) -> None:
    store(redis, IMEI, *(record(number) for number in range(5)))
    store(redis, OTHER, record(9))
    times = [line["timestamp"] for line in lines(records(IMEI, "--json", "--limit", 3))]
    assert times == [NOON + 4000, NOON + 3000, NOON + 2000]


def test_records_of_raw_frames_are_decoded(records: Telgw, redis: Any) -> None:
    frame = encode_avl(CODEC_8E, [record(0), record(1, speed=200)])[8:-4]  # without length and CRC
    redis.xadd("telemetry:records", {"imei": IMEI, "codec": "8E", "frame": frame})
    assert [line["speed"] for line in lines(records(IMEI, "--json"))] == [200, 50]


@pytest.mark.parametrize("columns", [80, 200])
def test_a_line_shows_time_place_and_io_values(records: Telgw, redis: Any, columns: int) -> None:
    store(redis, IMEI, record(0))
    shown = records(IMEI, "--utc", columns=columns).stdout
    assert max(map(len, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    for part in ("2026-01-01", "54.500000", "25.250000", "239=1", "66=12345", "72=-100", "60000=7"):
        assert part in words


def test_names_show_sign_factor_and_unit(records: Telgw, redis: Any) -> None:
    store(redis, IMEI, record(0))
    shown = " ".join(records(IMEI, "--names").stdout.split())
    assert "ignition 1 (Ignition On)" in shown
    assert "external_voltage 12.345 V" in shown
    assert "dallas_temperature_1 -10 °C" in shown
    [line] = lines(records(IMEI, "--names", "--json"))
    assert line["named"]["external_voltage"] == {"value": 12.345, "unit": "V"}
    assert "60000 7" in shown
    assert not any("60000" in name for name in line["named"])


def test_only_records_of_the_given_time_are_shown(records: Telgw, redis: Any) -> None:
    data = record_json(record(0))
    redis.xadd("telemetry:records", {"imei": IMEI, "data": data}, id="1000-0")
    assert records(IMEI, "--since", "1h").exit_code == 4
    assert len(lines(records(IMEI, "--since", "1970-01-01T00:00:01+00:00", "--json"))) == 1
    assert records(IMEI, "--since", "yesterday").exit_code == 2


def test_entries_that_are_no_records_are_passed_over(records: Telgw, redis: Any) -> None:
    for fields in ({"imei": IMEI}, {"imei": IMEI, "data": "{"}, {"imei": IMEI, "frame": b"\xff\x00"}):
        redis.xadd("telemetry:records", fields)
    store(redis, IMEI, record(0))
    assert len(lines(records(IMEI, "--json"))) == 1


def test_following_goes_on_after_the_last_record_shown(
    records: Telgw, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(redis, IMEI, record(0), record(1))
    follow = Producer.follow

    async def until_the_third(self: Producer, start: str, **more: Any) -> AsyncIterator[LogEntry]:
        store(redis, IMEI, record(2))
        async for entry in follow(self, start, 0, **more):
            yield entry
            return

    monkeypatch.setattr(Producer, "follow", until_the_third)
    times = [line["timestamp"] for line in lines(records(IMEI, "--follow", "--json"))]
    assert times == [NOON, NOON + 1000, NOON + 2000]


def test_a_map_has_the_positions_in_the_order_of_time(records: Telgw, redis: Any, tmp_path: Path) -> None:
    store(redis, IMEI, record(1), record(0), record(2, satellites=0))
    file = tmp_path / "track.geojson"
    assert records(IMEI, "--map", file).exit_code == 0
    line, first, second = json.loads(file.read_text())["features"]
    assert line["geometry"]["coordinates"] == [[25.25, 54.5, 111], [26.25, 54.5, 111]]
    assert (first["properties"]["time"], second["properties"]["speed"]) == ("2026-01-01T12:00:00.000Z", 50)


def test_a_map_may_be_gpx(records: Telgw, redis: Any, tmp_path: Path) -> None:
    store(redis, IMEI, record(0))
    file = tmp_path / "track.gpx"
    assert records(IMEI, "--map", file).exit_code == 0
    space = "{http://www.topografix.com/GPX/1/1}"
    [point] = Xml.fromstring(file.read_text()).iter(f"{space}trkpt")
    assert (point.get("lat"), point.get("lon")) == ("54.5000000", "25.2500000")
    assert point.findtext(f"{space}time") == "2026-01-01T12:00:00.000Z"


def test_a_map_of_nothing_is_not_written(records: Telgw, tmp_path: Path) -> None:
    file = tmp_path / "track.geojson"
    assert records(IMEI, "--map", file).exit_code == 4
    assert not file.exists()
    assert records(IMEI, "--map", tmp_path / "track.kml").exit_code == 2


def tell(redis: Any, seconds_ago: int, **more: Any) -> None:
    """What a gateway says: the device reported within ten seconds, and left after them."""
    then = int(redis.time()[0]) - seconds_ago
    times = {"told_at": then * 1000, "first_reported_at": then * 1000, "reported": [then - 10, then]}
    session = {"instance_id": "gw-1", "session_id": "b-1", "state": "closed"}
    redis.hset("devices:status", IMEI, json.dumps({**session, **times, **more}))
    redis.hdel("connections:registry", IMEI)


def store_ago(redis: Any, seconds: int, number: int) -> None:
    """A record that was stored so many seconds ago."""
    at = (int(redis.time()[0]) - seconds) * 1000
    fields = {"imei": IMEI, "codec": "8E", "data": record_json(record(number))}
    redis.xadd("telemetry:records", fields, id=f"{at}-*")


def test_records_are_looked_for_where_gateways_say_that_the_device_has_reported(
    records: Telgw, redis: Any
) -> None:
    for number, seconds in enumerate((9000, 3605, 3601, 60)):
        store_ago(redis, seconds, number)
    tell(redis, 3600)
    assert [line["timestamp"] for line in lines(records(IMEI, "--json"))] == [NOON + 2000, NOON + 1000]
    everything = lines(records(IMEI, "--json", "--scan"))
    assert [line["timestamp"] for line in everything] == [NOON + 1000 * number for number in (3, 2, 1, 0)]


def test_so_are_the_positions_of_a_map(records: Telgw, redis: Any, tmp_path: Path) -> None:
    store_ago(redis, 9000, 0)
    tell(redis, 3600)
    file = tmp_path / "track.geojson"
    assert records(IMEI, "--map", file).exit_code == 4
    assert records(IMEI, "--map", file, "--scan").exit_code == 0


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"state": "ready"}, 60),
        ({"first_reported_at": 1}, 9000),
        ({"told_at": 0}, 9000),
        ({"reported": [], "first_reported_at": None}, 3590),
    ],
    ids=["is connected", "reported before what is kept", "an older gateway", "told at the end only"],
)
def test_a_time_of_which_nobody_has_told_is_looked_at(
    records: Telgw, redis: Any, more: dict[str, Any], seconds: int
) -> None:
    store_ago(redis, seconds, 0)
    tell(redis, 3600, **more)
    assert len(lines(records(IMEI, "--json"))) == 1


def test_a_newer_session_of_which_nobody_has_told_counts(records: Telgw, redis: Any) -> None:
    store_ago(redis, 60, 0)
    tell(redis, 3600)
    redis.hset("connections:registry", IMEI, "gw-2")
    redis.hset("connections:sessions", IMEI, "c-7 10.0.0.1 imei")
    assert len(lines(records(IMEI, "--json"))) == 1


def test_a_status_that_is_none_hides_no_record(records: Telgw, redis: Any) -> None:
    store_ago(redis, 60, 0)
    redis.hset("devices:status", IMEI, "{")
    assert len(lines(records(IMEI, "--json"))) == 1


@pytest.mark.parametrize(
    ("words", "state", "sentence"),
    [
        ((IMEI,), "closed", f"There is no record of {IMEI} in the parts of that time in which, by"),
        ((IMEI, "--since", "30m"), "closed", f"By devices:status {IMEI} has not reported in that time."),
        ((IMEI, "--since", "30m"), "ready", f"There is no record of {IMEI} in that time.\n"),
        ((IMEI, "--scan"), "closed", f"There is no record of {IMEI} in that time.\n"),
        ((OTHER,), "closed", f"Nothing is known of the device {OTHER}. With --scan"),
        ((OTHER, "--scan"), "closed", f"There is no record of {OTHER} in that time.\n"),
    ],
    ids=["it has reported once", "not in that time", "nobody has told yet", "all", "unknown", "unknown, all"],
)
def test_what_was_not_looked_at_is_said(
    records: Telgw, redis: Any, words: tuple[str, ...], state: str, sentence: str
) -> None:
    tell(redis, 3600, state=state)
    result = records(*words)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"telgw: {sentence}")
