"""``telgw watch`` and ``telgw history`` on the past: by time, state, reason and device, and as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from click.testing import Result

from store.keys import Keys
from tests.transport.command_line import Telgw
from transport.cli.sequence import escaped

KEYS = Keys()
IMEI, OTHER = "352093081452251", "352093081452252"
NOON = 1_767_268_800_000
"""2026-01-01 12:00 UTC."""
BEFORE = ("--since", "2026-01-01T00:00Z")


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    return fakeredis.FakeRedis(server=fake_server)


@pytest.fixture
def run(telgw_on_redis: Telgw) -> Telgw:
    """Runs a verb in a terminal of 80 columns, in UTC."""

    def run(*args: object, columns: int = 80) -> Result:
        return telgw_on_redis(*args, env={"COLUMNS": str(columns), "TZ": "UTC"})

    return run


def log(
    redis: Any,
    second: int,
    kind: str = "command",
    imei: str = IMEI,
    stream: str = KEYS.responses,
    **fields: str,
) -> str:
    at = f"2026-01-01T12:00:{second:02d}.000Z"
    more = {"v": "1", "kind": kind, "imei": imei, "at": at, "seq": str(second + 1), "terminal": "0"}
    if kind == "note":
        del more["seq"], more["terminal"]
    entry: bytes = redis.xadd(stream, {**more, **fields}, id=f"{NOON + second * 1000}-*")
    return entry.decode()


def timed_out(redis: Any, command_id: str = "c-1", **more: str) -> None:
    """A command that was sent, handed over before, and answered too late."""
    common = {"command_id": command_id, "requested_by": "ops; <b>", "codec": "12", **more}
    first = log(redis, 0, state="queued", trigger="accept", instance_id="gw-1", age_ms="0", **common)
    log(redis, 1, "note", note="moved", note_id="1", detail="gw-2", instance_id="gw-1", **common)
    log(redis, 2, state="sent", prev="queued", trigger="send", instance_id="gw-2", age_ms="2000", **common)
    end = {"prev": "sent", "trigger": "time_out", "reason": "response_timeout", "delivery": "received"}
    log(redis, 3, state="timeout", instance_id="gw-2", **common, **end, age_ms="3000")
    late = {"note": "late_response", "note_id": "2", "response": 'DOUT1:1; "x" # %% <y>'}
    last = log(redis, 4, "note", instance_id="gw-2", **late, **common)
    redis.hset(KEYS.ledger(command_id), mapping={"first": first, "last": last})


def states(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line).get("state", "") for line in result.stdout.splitlines()]


def test_watch_prints_the_past_and_ends(run: Telgw, redis: Any) -> None:
    timed_out(redis)
    log(
        redis,
        5,
        "session",
        OTHER,
        session_id="s-1",
        state="closed",
        prev="ready",
        trigger="close",
        reason="idle",
    )
    past = ("watch", "--no-follow", "--json", *BEFORE)
    assert states(run(*past)) == ["queued", "", "sent", "timeout", "", "closed"]
    assert states(run(*past, "--state", "sent", "--state", "closed")) == ["sent", "closed"]
    assert states(run(*past, "--reason", "idle")) == ["closed"]
    assert states(run(*past, "--imei", OTHER)) == ["closed"]
    assert states(run(*past, "--command", "c-1", "--limit", 2)) == ["timeout", ""]
    since = ("watch", "--no-follow", "--json", "--since", "2026-01-01T12:00:03Z")
    assert states(run(*since)) == ["timeout", "", "closed"]
    after = ("watch", "--no-follow", "--json", "--from", f"{NOON + 3000}-0")
    assert states(run(*after)) == ["", "closed"]
    assert states(run(*after, "--limit", 9)) == ["", "closed"]


def test_watch_that_finds_nothing_ends_with_status_4(run: Telgw, redis: Any) -> None:
    timed_out(redis)
    assert run("watch", "--no-follow", "--since", "1h").exit_code == 4
    for wrong in (
        ("--from", "0", "--since", "1h"),
        ("--messages", "--state", "sent"),
        ("--state", "new"),
        ("--reason", "x"),
    ):
        assert run("watch", *wrong).exit_code == 2


@pytest.mark.parametrize("columns", [80, 200])
def test_a_history_fits_the_terminal_and_cuts_nothing(run: Telgw, redis: Any, columns: int) -> None:
    timed_out(redis)
    shown = run("history", "c-1", columns=columns).stdout
    assert max(map(len, shown.splitlines())) <= columns
    for part in (
        "2026-01-01 12:00:03.000+0000",
        "response_timeout",
        "received",
        "late_response",
        "moved",
        "gw-2",
    ):
        assert part in shown
    assert 'DOUT1:1; "x" # %% <y>' in shown
    assert ("3000 ms" in shown) is (columns == 200)


def test_a_device_has_one_time_line_of_sessions_and_commands(run: Telgw, redis: Any) -> None:
    timed_out(redis)
    log(redis, 4, imei=OTHER, command_id="c-2", state="queued", trigger="accept")
    session = {"session_id": "s-1", "state": "ready", "prev": "identified", "trigger": "open"}
    log(redis, 1, "session", stream="sessions", **session)
    shown = run("history", "--imei", IMEI, *BEFORE, "--session-events", "sessions")
    places = [shown.stdout.index(word) for word in ("queued", "identified", "sent", "timeout")]
    assert places == sorted(places)
    assert "c-2" not in shown.stdout
    last = run("history", "--imei", IMEI, *BEFORE, "--limit", 1, "--json")
    assert [json.loads(line)["note"] for line in last.stdout.splitlines()] == ["late_response"]
    assert run("history", "--imei", "3" * 15, *BEFORE).exit_code == 4
    assert run("history", "--imei", "1").exit_code == run("history", "a b").exit_code == 2
    for wrong in (("c-1", "--imei", IMEI), (), ("--imei", IMEI, "--sequence")):
        assert run("history", *wrong).exit_code == 2


def test_the_path_is_numbered_and_timed(run: Telgw, redis: Any) -> None:
    timed_out(redis)
    chart = run("history", "c-1", "--mermaid").stdout
    assert "(3) send<br/>+2000 ms" in chart
    assert "(4) time_out<br/>response_timeout<br/>+3000 ms" in chart


def test_a_sequence_shows_who_told_whom_what(run: Telgw, redis: Any) -> None:
    timed_out(redis)
    lines = [line.strip() for line in run("history", "c-1", "--sequence", "--mermaid").stdout.splitlines()]
    assert lines[1:] == [
        "participant P as ops#59; #60;b#62;",
        "participant G1 as gw-1",
        "participant G2 as gw-2",
        f"participant T as device {IMEI}",
        "P->>G1: command",
        "G1-->>P: 1 queued +0 ms",
        "Note over G1: handed over: gw-2 +1000 ms",
        "G2-->>P: 3 sent +2000 ms",
        "G2->>T: codec 12 frame",
        "Note over G2: response_timeout received",
        "G2-->>P: 4 timeout +3000 ms",
        "T-->>G2: DOUT1:1#59; #34;x#34; #35; #37;#37; #60;y#62;",
        "G2-->>P: late_response +4000 ms",
        "",
    ]


def test_pictures_are_drawn(run: Telgw, redis: Any, tmp_path: Path) -> None:
    pytest.importorskip("mermaidx")
    timed_out(redis)
    svg, png = tmp_path / "c.svg", tmp_path / "c.png"
    assert run("history", "c-1", "--svg", svg, "--png", png).exit_code == 0
    assert svg.read_text().lstrip().startswith("<svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    terminal = run("history", "c-1", "--sequence").stdout
    assert "late_response" in terminal
    assert "ops· ·b·" in terminal


@pytest.mark.parametrize("text", ["a\nb", "x" * 99, "", "\x1b[31m", "a-->>b: c;\nd"])
def test_a_text_in_a_diagram_stays_one_text(text: str) -> None:
    shown = escaped(text)
    assert shown
    assert not set(shown) & set("\n\x1b<>\"'%")
    assert shown.count(";") == shown.count("#")
