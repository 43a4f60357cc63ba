"""``telgw report``: what it counts, and the page that it writes."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.device_status import DeviceStatus
from fsm.events import CommandEvent, Note, SessionEvent
from store.keys import Keys
from store.streams.events import command_fields, note_fields, rfc3339, session_fields
from tests.transport.command_line import Telgw
from tests.transport.test_cli_devices import STATUS, alive, held

KEYS = Keys()
NOW = 1_767_225_600_000
"""The frozen clock: 2026-01-01 00:00 UTC."""
MINUTE, HOUR = 60_000, 3_600_000
IMEI, OTHER = "352093081452251", "352093081452252"
VOID = {"meta"}


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer, frozen: FrozenDateTimeFactory) -> Any:
    """An in-memory Redis with one live gateway, at `NOW`."""
    client = fakeredis.FakeRedis(server=fake_server)
    alive(client, "gw-1", "b1")
    return client


@pytest.fixture
def numbers(telgw_on_redis: Telgw) -> Callable[..., dict[str, Any]]:
    """The numbers of a report."""

    def run(*args: object) -> dict[str, Any]:
        result = telgw_on_redis("report", "--json", *args)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    return run


def command(redis: Any, ago: int, command_id: str, state: str, **more: Any) -> None:
    """Append an event of a command, `ago` ms before now."""
    given = {
        "seq": 2,
        "prev": "sent",
        "trigger": "respond",
        "imei": IMEI,
        "codec": "12",
        "instance_id": "gw-1",
        "verb": "getinfo",
    }
    ended = state in ("responded", "delivered", "failed", "timeout")
    age = {"age_ms": str(more.pop("age_ms"))} if "age_ms" in more else {}
    event = CommandEvent(command_id, state=state, terminal=ended, **given | more)
    append(redis, ago, command_fields(event), **age)


def append(redis: Any, ago: int, flat: list[str], **more: str) -> None:
    fields = dict(zip(flat[::2], flat[1::2], strict=True)) | more
    redis.xadd(KEYS.responses, {"at": rfc3339(NOW - ago), **fields}, id=f"{NOW - ago}-*")


def session(
    redis: Any, ago: int, session_id: str, state: str, reason: str = "", *, late: int = 0, **more: Any
) -> None:
    """Append an event of a session, `ago` ms before now; it happened `late` ms before that."""
    given = {"imei": IMEI, "instance_id": "gw-1", "prev": "handshake", "trigger": "identify", "seq": 1}
    event = SessionEvent(session_id, state=state, reason=reason, terminal=state == "closed", **given | more)
    fields: Any = session_fields(event, NOW - ago - late)
    redis.xadd(KEYS.responses, fields, id=f"{NOW - ago}-*")


def seen(session_id: str, minutes: int) -> DeviceStatus:
    """The status of a device that connected so many minutes ago."""
    return replace(STATUS, session_id=session_id, connected_at=NOW - minutes * MINUTE)


def test_the_numbers_are_those_of_the_log(redis: Any, numbers: Callable[..., dict[str, Any]]) -> None:
    for number in range(100):
        command(redis, 5 * MINUTE, f"c-{number}", "queued", seq=1, prev="")
    for number in range(100):
        command(redis, 4 * MINUTE, f"c-{number}", "sent", age_ms=10 + number)
    for number in range(90):
        command(redis, 3 * MINUTE, f"c-{number}", "responded", rtt_ms=number + 1, delivery="answered")
    for number in range(90, 100):
        command(
            redis,
            2 * MINUTE,
            f"c-{number}",
            "timeout",
            imei=OTHER,
            reason="response_timeout",
            delivery="received",
        )
    append(redis, MINUTE, note_fields(Note("late_response", "n-1", "c-91")))
    redis.xadd(KEYS.responses, {"kind": "command", "seq": "x"}, id=f"{NOW - MINUTE}-*")
    found = numbers("--since", "1h")
    assert (found["entries"], found["unreadable"]) == (302, 1)
    assert found["commands"] == {
        "accepted": 100,
        "ended": 100,
        "endings": [
            {"state": "responded", "reason": "", "delivery": "answered", "count": 90},
            {"state": "timeout", "reason": "response_timeout", "delivery": "received", "count": 10},
        ],
    }
    answers = {"count": 90, "p5": 5, "p25": 23, "p50": 45, "p75": 68, "p95": 86, "p99": 90}
    assert found["answer_ms"] == found["answer_ms_by_verb"]["getinfo"] == answers
    assert found["wait_ms_by_gateway"]["gw-1"]["p50"] == 59
    assert found["notes"] == {"late_response": 1}
    assert [(one["imei"], one["timeouts"]) for one in found["devices"]["worst"]] == [(OTHER, 10)]
    over_time = found["over_time"]
    assert {name: sum(counts) for name, counts in over_time["outcomes"].items()} == {
        "responded": 90,
        "timeout": 10,
    }
    assert over_time["begins"][over_time["outcomes"]["timeout"].index(10)] == NOW - 2 * MINUTE


def test_what_was_before_the_time_does_not_count(redis: Any, numbers: Callable[..., dict[str, Any]]) -> None:
    command(redis, 2 * HOUR, "c-1", "failed", reason="nack")
    command(redis, HOUR - 1, "c-2", "failed", reason="cancelled")
    assert [one["reason"] for one in numbers("--since", "1h")["commands"]["endings"]] == ["cancelled"]
    assert numbers("--since", "3h")["commands"]["ended"] == 2


def test_a_report_begins_with_the_log(redis: Any, numbers: Callable[..., dict[str, Any]]) -> None:
    command(redis, 2 * HOUR, "c-1", "failed", reason="nack")
    found = numbers("--since", "30d")
    assert (found["since"], found["log_begins"], found["until"]) == (NOW - 2 * HOUR, NOW - 2 * HOUR, NOW)
    assert len(found["over_time"]["begins"]) > 50


def test_devices_count_as_online_from_their_first_event_to_their_last(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    command(redis, 2 * HOUR, "c-1", "queued", seq=1)  # the log is older than what is asked for
    session(redis, 50 * MINUTE, "b1-1", "closed", "device_closed", imei="1")  # open before the time began
    session(redis, 40 * MINUTE, "b1-2", "identified", imei="2")
    session(redis, 39 * MINUTE, "b1-2", "ready", imei="2", prev="identified", seq=2)
    session(redis, 30 * MINUTE, "b1-3", "identified", imei="2")  # a newer connection of the same device
    session(redis, 30 * MINUTE, "b1-2", "closed", "superseded", imei="2")
    session(redis, 20 * MINUTE, "b1-3", "closed", "idle", imei="2")
    session(redis, 20 * MINUTE, "b1-4", "identified", imei="2")
    held(redis, "2", token="b1-4")
    held(redis, "3", seen("b1-9", 120), token="b1-9")
    held(
        redis,
        "4",
        seen("b1-8", 10),
        token="b1-8",
    )
    found = numbers("--since", "1h")
    online = dict(
        zip(
            found["over_time"]["begins"],
            zip(*found["over_time"]["online"].values(), strict=True),
            strict=True,
        )
    )

    def at(minutes: int) -> tuple[int, int]:
        """The last and the least number in the part that begins so many minutes before now."""
        pair: tuple[int, int] = online[NOW - minutes * MINUTE]
        return pair

    assert found["devices"]["connected"] == 3
    assert [at(minutes) for minutes in (55, 45, 35, 30, 25, 15, 5, 0)] == [
        *((2, 2), (1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (3, 3), (3, 3))
    ]
    assert at(20) == (2, 1)


def test_a_session_whose_begin_was_left_out_is_no_other_device(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    command(redis, 2 * HOUR, "c-1", "queued", seq=1)
    session(redis, 50 * MINUTE, "b1-1", "identified")
    session(redis, 40 * MINUTE, "b1-1", "closed", "device_closed")
    for number in range(2, 9):  # it connects so often that only the ends are told
        session(redis, (40 - number) * MINUTE, f"b1-{number}", "closed", "instance_lost")
    online = numbers("--since", "1h")["over_time"]["online"]
    assert (online["last"][0], max(online["last"]), online["last"][-1]) == (0, 1, 0)


def test_a_connection_from_before_that_is_replaced_was_online(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    session(redis, 30 * MINUTE, "b1-2", "identified")
    session(redis, 30 * MINUTE, "b1-1", "closed", "superseded")
    held(redis, IMEI, token="b1-2")
    assert set(numbers("--since", "1h")["over_time"]["online"]["last"]) == {1}


def test_a_gateway_is_away_between_the_events_of_two_processes(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    session(redis, 50 * MINUTE, "b0-1", "ready")
    session(redis, 47 * MINUTE, "b0-1", "closed", "instance_lost", seq=0)  # told by another gateway
    session(redis, 40 * MINUTE, "b1-1", "ready")
    for ago, state, reason in ((30, "ready", ""), (20, "closed", "shutdown")):
        session(redis, ago * MINUTE, "c0-1", state, reason, instance_id="gw-2")
    found = [(one["who"], one["what"], one["over"]) for one in numbers("--since", "1h")["outages"]]
    assert found == [("gw-2", "stopped", False), ("gw-1", "died", True)]
    [away, died] = numbers("--since", "1h")["outages"]
    assert (died["since_ms"], died["until_ms"]) == (NOW - 50 * MINUTE, NOW - 40 * MINUTE)
    assert (away["since_ms"], away["until_ms"]) == (NOW - 20 * MINUTE, NOW)


def test_redis_was_away_where_events_waited_and_nothing_was_stored(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    session(redis, 50 * MINUTE, "b1-1", "identified")
    session(redis, 40 * MINUTE, "b1-1", "closed", "idle", late=5 * MINUTE)
    session(redis, 30 * MINUTE, "b1-2", "identified", late=MINUTE)  # held back, as gateways do
    session(redis, 20 * MINUTE, "b1-2", "closed", "idle")  # nothing was stored before it, but it did not wait
    [one] = numbers("--since", "1h")["outages"]
    assert (one["who"], one["since_ms"], one["until_ms"]) == ("Redis", NOW - 50 * MINUTE, NOW - 40 * MINUTE)


def test_a_clock_that_is_behind_is_no_outage(redis: Any, numbers: Callable[..., dict[str, Any]]) -> None:
    for ago in (50, 40, 30):
        session(redis, ago * MINUTE, f"b1-{ago}", "closed", "idle", late=MINUTE)
    assert numbers("--since", "1h")["outages"] == []


def test_session_events_may_be_on_a_stream_of_their_own(
    redis: Any, numbers: Callable[..., dict[str, Any]]
) -> None:
    session(redis, MINUTE, "b1-1", "closed", "idle")
    redis.rename(KEYS.responses, "apart")
    assert numbers("--session-events", "apart")["closes"] == {"idle": 1}
    off = numbers("--session-events", "off")
    assert (off["closes"], off["over_time"]["online"]) == ({}, None)


class Checked(HTMLParser):
    """The text of a page, and what is wrong with its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.wanted: set[str] = set()
        self.wrong: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name in ("src", "srcset", "action") or (name == "href" and not (value or "").startswith("#")):
                self.wrong.append(f"{tag} {name}={value}")
            self.wanted.update(re.findall(r"(?:url\()?#([\w-]+)", value or "") if name != "style" else ())
        if tag in ("script", "link", "iframe", "img", "object", "base", "form"):
            self.wrong.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        (self.styles if self.open[-1:] == ["style"] else self.words).append(data)


@pytest.fixture
def page(telgw_on_redis: Telgw, tmp_path: Path) -> Callable[..., str]:
    """The page that is written."""

    def run(*args: object) -> str:
        file = tmp_path / "report.html"
        result = telgw_on_redis("report", "--out", file, "--utc", *args)
        assert result.exit_code == 0, result.output
        assert str(file) in result.stdout
        return file.read_text(encoding="utf-8")

    return run


def test_the_page_tells_the_numbers_and_loads_nothing(redis: Any, page: Callable[..., str]) -> None:
    for number in range(1200):
        command(redis, 3 * MINUTE, f"c-{number}", "responded", rtt_ms=250, delivery="answered")
    command(redis, 2 * MINUTE, "c-x", "failed", reason="connection_lost", delivery="maybe_sent")
    session(redis, 2 * MINUTE, "b1-1", "identified")
    session(redis, MINUTE, "b1-1", "closed", "network_timeout")
    redis.xgroup_create(KEYS.responses, "directus", "0")
    written = page("--since", "1h")
    checked = Checked(written)
    assert (checked.wrong, checked.open) == ([], [])
    assert max(checked.ids.values()) == 1
    assert checked.wanted - checked.ids.keys() == set()
    assert "http" not in written.replace("http-equiv", "")
    assert "url(" not in "".join(checked.styles)
    words = [word.strip() for word in checked.words]
    assert "1 of 1,201 commands failed or timed out, most often as connection_lost (1)." in words
    for number in ("1,201", "1,200", "99.9%", "250 ms", "network_timeout", "directus"):
        assert number in words
    assert "2025-12-31 23:57:00+0000 to 2026-01-01 00:00:00+0000" in words


def test_a_page_follows_light_and_dark_in_every_colour(redis: Any, page: Callable[..., str]) -> None:
    command(redis, MINUTE, "c-1", "responded", rtt_ms=1)
    session(redis, MINUTE, "b1-1", "identified")
    written = page()
    colours = set(re.findall(r"(?:fill|stroke|color): ([^;\"]+)", written.partition("<svg")[2]))
    assert colours <= {"none", "inherit"} | {colour for colour in colours if colour.startswith("var(--")}
    known = set(re.findall(r"(--[\w-]+):", written))
    assert set(re.findall(r"var\((--[\w-]+)\)", written)) <= known


def test_what_anybody_says_is_text_on_the_page(redis: Any, page: Callable[..., str]) -> None:
    said = "<script>alert(1)</script>$x^2$\x1b[31m"
    command(
        redis,
        2 * MINUTE,
        "c-1",
        "responded",
        rtt_ms=1,
        imei=said,
        instance_id=said,
        verb=said,
        delivery=said,
    )
    command(redis, 2 * MINUTE, "c-2", "failed", reason=said, imei=said, instance_id=said)
    session(redis, MINUTE, f"{said}-1", "closed", said, imei=said, instance_id=said)
    append(redis, MINUTE, note_fields(Note(said, "n-1")))
    redis.xgroup_create(KEYS.responses, said, "0")
    redis.hset(KEYS.instances, said, "1")
    checked = Checked(written := page())
    assert (checked.wrong, checked.open) == ([], [])
    assert "\x1b" not in written
    assert any("<script>alert(1)</script>" in word for word in checked.words)


def test_a_page_of_nothing_says_so(redis: Any, page: Callable[..., str]) -> None:
    words = " ".join(Checked(page()).words)
    assert "No command has ended in this time." in words
    assert "The log is empty." in words


def test_a_report_without_its_library_says_what_to_install(
    redis: Any, telgw_on_redis: Telgw, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = telgw_on_redis("report", "--out", tmp_path / "r.html")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pip install 'teltonika-gateway[report]'" in result.stderr
    assert telgw_on_redis("report", "--json").exit_code == 0
