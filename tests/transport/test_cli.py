"""The command line: what it refuses and how, where a value comes from, and what it prints."""

from __future__ import annotations

import sys
import tomllib
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from fsm.command import COMMAND
from store.streams import messages
from tests.transport.command_line import Telgw
from transport.cli import VERBS, cli, config, path_drawing, render, run, simulate
from transport.cli.command_options import entry
from transport.cli.scenes import Act, Scene, scenes
from transport.cli.send import status
from transport.settings import Settings
from transport.simulator.fleet import Fleet

IMEI = "352093081452251"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `telgw run` would have started gateways with."""
    seen: list[Settings] = []

    def start(settings: Settings, *_: object) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(run, "start", start)
    return seen


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    assert result.stderr.startswith("telgw: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_the_help_lists_every_verb_without_importing_one(telgw: Telgw) -> None:
    before = set(sys.modules)
    result = telgw("--help")
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in VERBS)
    assert not {f"transport.cli.{verb.replace('-', '_')}" for verb in VERBS} & (set(sys.modules) - before)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_verbs_and_options_are_completed(telgw: Telgw, shell: str) -> None:
    def completed(words: str, last: str) -> str:
        position = last if shell == "fish" else str(words.count(" "))
        env = {"_TELGW_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": position}
        return telgw(env=env).output

    assert "simulate" in completed("telgw si", "si")
    assert "--timeout" in completed("telgw send --time", "--time")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_that_begins_as_the_list_says(telgw: Telgw, verb: str) -> None:
    result = telgw(verb, "--help")
    assert result.exit_code == 0, result.output
    command = cli.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    assert command.get_short_help_str(200) == VERBS[verb]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fly",), ["fly"]),
        (("snd",), ["snd", "Did you mean 'send'?"]),
        (("run", "--bogus"), ["--bogus"]),
        (("run", "--redis", "http://user:secret@host"), ["--redis", "redis://"]),
        (("run", "--redis", "redis://host:nonsense"), ["--redis"]),
        (("run", "--redis", "redis://"), ["--redis"]),
        (("run", "--listen", "5027"), ["--listen", "HOST:PORT"]),
        (("run", "--listen", "host:65536"), ["--listen"]),
        (("run", "--metrics", "nowhere"), ["--metrics", "off"]),
        (("run", "--instance-id", "a b"), ["--instance-id"]),
        (("run", "--payload", "xml"), ["--payload", "json"]),
        (("run", "--retention", "soon"), ["--retention"]),
        (("run", "--response-timeout", "3601"), ["--response-timeout", "3600"]),
        (("run", "--queue-limit", "0"), ["--queue-limit"]),
        (("run", "--heartbeat-ttl", "30"), ["--heartbeat-ttl", "--heartbeat-interval"]),
        (("run", "--config", "/does/not/exist"), ["/does/not/exist"]),
        (("send", "123", "getinfo"), ["IMEI", "15 digits"]),
        (("send", IMEI, "get\ninfo"), ["TEXT", "ASCII"]),
        (("send", IMEI, "getinfo", "--command-id", "a b"), ["--command-id"]),
        (("send", IMEI, "getinfo", "--redis", "redis://127.0.0.1:1"), ["Redis"]),
        (("cancel", "a b"), ["COMMAND_ID"]),
        (("watch", "--from", "yesterday"), ["--from"]),
        (("simulate", "--imei-base", "999999999999999"), ["--imei-base"]),
    ],
)
def test_an_error_is_one_line(telgw: Telgw, args: tuple[str, ...], words: list[str]) -> None:
    result = telgw(*args)
    refused(result, *words)
    assert "secret" not in result.stderr


def test_an_unknown_key_is_an_error_that_names_it_and_the_file(telgw: Telgw, tmp_path: Path) -> None:
    file = tmp_path / "telgw.toml"
    file.write_text('listn = "x"\n')
    refused(telgw("run", "--config", file), "'listn'", str(file))
    refused(telgw("send", "--config", file, IMEI, "getinfo"), "'listn'", str(file))


@pytest.mark.parametrize(
    "text",
    [
        "listen = ",
        "\xff",
        'queue-limit = "many"',
        "queue-limit = 1e999",
        "queue-limit = true",
        "metrics = false",
        "allow-verbs = {}",
        "allow-verbs = 2020-01-01",
        "tls-cert = [1]",
        "listen = {}",
        'state-dir = "a\\u0000b"',
    ],
)
def test_a_file_that_says_nonsense_is_named(telgw: Telgw, tmp_path: Path, text: str) -> None:
    file = tmp_path / "telgw.toml"
    file.write_bytes(text.encode("latin-1"))
    refused(telgw("run", "--config", file), str(file))


def test_an_error_names_the_place_that_the_value_came_from(
    telgw: Telgw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "telgw.toml"
    file.write_text('listen = "127.0.0.1:99999"\n')
    for result in (telgw("run", "--listen", "127.0.0.1:99999"), telgw("run", "--config", file)):
        refused(result, "'--listen'", "a port above 65535")
        assert "TELGW_LISTEN" not in result.stderr
    monkeypatch.setenv("TELGW_LISTEN", "127.0.0.1:99999")
    refused(telgw("run"), "TELGW_LISTEN: ")


def test_a_gateway_to_which_no_device_could_connect_is_not_started(telgw: Telgw, tmp_path: Path) -> None:
    file = tmp_path / "telgw.toml"
    file.write_text("listen = []\n")
    refused(telgw("run", "--config", file), "--listen", "--tls-listen")


def test_command_line_beats_environment_beats_file(
    telgw: Telgw, tmp_path: Path, started: list[Settings]
) -> None:
    file = tmp_path / "telgw.toml"
    file.write_text('listen = "127.0.0.1:1"\nqueue-limit = 1\nmax_payload = 1\n')
    env = {"TELGW_QUEUE_LIMIT": "2", "TELGW_LISTEN": "127.0.0.1:2 [::1]:3"}
    assert telgw("run", "--config", file, "--listen", "127.0.0.1:4", env=env).exit_code == 0
    assert telgw("run", env={**env, "TELGW_CONFIG": str(file)}).exit_code == 0
    assert telgw("run", "--config", file).exit_code == 0
    assert [settings.listen for settings in started] == [
        (("127.0.0.1", 4),),
        (("127.0.0.1", 2), ("::1", 3)),
        (("127.0.0.1", 1),),
    ]
    assert [settings.queue_limit for settings in started] == [2, 2, 1]
    assert started[0].limits.max_payload == 1
    assert started[0].drain_timeout == Settings(instance_id="x").drain_timeout


def test_command_line_defaults_are_those_of_the_settings(telgw: Telgw, started: list[Settings]) -> None:
    telgw("run", "--instance-id", "gw-1")
    assert started == [Settings(instance_id="gw-1")]


def test_the_plain_listener_may_be_off_where_another_one_listens(
    telgw: Telgw, started: list[Settings], files: dict[str, Path]
) -> None:
    tls = ("--tls-listen", "127.0.0.1:5028", "--tls-cert", files["tls_cert"], "--tls-key", files["tls_key"])
    assert telgw("run", "--listen", "off", *tls).exit_code == 0
    assert telgw("run", *tls, env={"TELGW_LISTEN": "off"}).exit_code == 0
    assert [(found.listen, found.tls_listen) for found in started] == [((), (("127.0.0.1", 5028),))] * 2
    refused(telgw("run", "--listen", "off"), "no device could connect")
    refused(telgw("run", "--listen", "off", "--listen", "127.0.0.1:1", *tls), "--listen off")


def test_a_listener_for_proxies_needs_to_know_whom_to_trust(
    telgw: Telgw, started: list[Settings], tmp_path: Path
) -> None:
    listen = ("--listen", "off", "--proxy-listen", "127.0.0.1:5028")
    assert telgw("run", *listen, "--proxy-trust", "10.0.0.0/8, fd00::/8,192.0.2.7").exit_code == 0
    file = tmp_path / "telgw.toml"
    file.write_text(
        'proxy-listen = "127.0.0.1:5028"\nproxy-trust = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]\n'
    )
    assert telgw("run", "--config", file, "--listen", "off").exit_code == 0
    trust = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "192.0.2.7")))
    assert [found.proxy_trust for found in started] == [trust, trust]
    assert started[0].instance_id.endswith("-5028")
    refused(telgw("run", *listen), "--proxy-trust")
    refused(telgw("run", "--proxy-trust", "10.0.0.0/8"), "--proxy-listen")
    for wrong in ("10.0.0.1/8", "10.0.0.0/33", "proxy.example", "", "10.0.0.0/8,"):
        refused(telgw("run", *listen, "--proxy-trust", wrong), "--proxy-trust", "network")


def test_networks_are_for_one_listener_or_for_all_others(
    telgw: Telgw, started: list[Settings], tmp_path: Path
) -> None:
    listen = ("--listen", "127.0.0.1:5027", "--listen", "[::1]:5028")
    given = ("--allow-from", "10.0.0.0/8, fd00::/8", "--allow-from", "[::1]:5028=192.0.2.7")
    assert telgw("run", *listen, *given).exit_code == 0
    file = tmp_path / "telgw.toml"
    file.write_text('allow-from = ["10.0.0.0/8,fd00::/8", "[::1]:5028=192.0.2.7"]\n')
    assert telgw("run", *listen, "--config", file).exit_code == 0
    assert [found.allow_from for found in started] == [started[0].allow_from] * 2
    general = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8")))
    assert started[0].allowed_from(("127.0.0.1", 5027)) == general
    assert started[0].allowed_from(("::1", 5028)) == (ip_network("192.0.2.7"),)
    refused(telgw("run", *listen, "--allow-from", "127.0.0.1:5029=10.0.0.0/8"), "127.0.0.1:5029", "listener")
    for wrong in ("10.0.0.1/8", "", "off", "127.0.0.1:5027=", "127.0.0.1:5027=off", "nowhere=10.0.0.0/8"):
        refused(telgw("run", *listen, "--allow-from", wrong), "--allow-from")


def test_the_instance_id_comes_from_the_host_and_the_port(
    telgw: Telgw, started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "büro host" + "x" * 80)
    telgw("run", "--listen", "0.0.0.0:15027")
    assert started[0].instance_id.startswith("b-ro-host")
    assert started[0].instance_id.endswith("-15027")
    assert len(started[0].instance_id) == 64


def test_durations_may_have_a_unit_and_metrics_may_be_off(telgw: Telgw, started: list[Settings]) -> None:
    telgw("run", "--retention", "2d", "--ready-grace", "500ms", "--metrics", "off", "--listen", "[::]:5027")
    assert (started[0].retention, started[0].ready_grace) == (2 * 86400.0, 0.5)
    assert started[0].metrics is None
    assert started[0].listen == (("::", 5027),)


def test_the_printed_configuration_holds_the_defaults(
    telgw: Telgw, tmp_path: Path, started: list[Settings]
) -> None:
    printed = telgw("config").stdout
    assert printed == config.template()
    assert tomllib.loads(printed) == {}
    lines = [
        line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line
        for line in printed.splitlines()
    ]
    file = tmp_path / "telgw.toml"
    file.write_text("\n".join(lines))
    assert len(tomllib.loads(file.read_text())) == len(
        [p for p in run.command.params if hasattr(p, "section")]
    )
    assert telgw("run", "--config", file).exit_code == 0
    assert telgw("run").exit_code == 0
    assert started[0] == started[1]


def test_the_version_is_printed(telgw: Telgw) -> None:
    assert telgw("version").stdout.startswith("telgw ")


def test_an_interruption_is_130(telgw: Telgw, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "start", interrupted)
    assert telgw("run").exit_code == 130


def test_a_port_in_use_is_one_line(telgw: Telgw, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> int:
        raise OSError(98, "address already in use")

    monkeypatch.setattr(run, "start", busy)
    refused(telgw("run"), "address already in use")


def test_an_entry_is_flat_and_expires_by_the_redis_clock() -> None:
    fields = entry(
        1_760_000_000_000,
        imei=IMEI,
        text=" getinfo",
        codec="14",
        timeout=1.5,
        expires_in=10.0,
        no_answer=True,
    )
    assert fields.pop("command_id")
    assert fields == {
        "imei": IMEI,
        "payload": " getinfo",
        "codec": "14",
        "requested_by": "telgw send",
        "response_timeout": "1.500",
        "expires_at": "2025-10-09T08:53:30.000Z",
        "expect_response": "0",
    }


def test_a_second_person_needs_a_first_one(telgw: Telgw) -> None:
    refused(telgw("send", IMEI, "defaultcfg", "--confirmed-by", "bob"), "--confirmed-by needs --requested-by")
    assert entry(0, imei=IMEI, text="getinfo", requested_by="ann", confirmed_by="bob").items() >= {
        ("requested_by", "ann"),
        ("confirmed_by", "bob"),
    }


@pytest.mark.parametrize(
    ("state", "expected"), [("responded", 0), ("delivered", 0), ("failed", 1), ("timeout", 3), ("", 1)]
)
def test_the_exit_status_of_send_says_how_the_command_ended(state: str, expected: int) -> None:
    assert status({"state": state}) == expected


def test_what_a_device_wrote_never_steers_the_terminal() -> None:
    fields = {
        "kind": "command",
        "command_id": "c1\x1b[2J",
        "imei": IMEI,
        "seq": "3",
        "trigger": "respond",
        "state": "responded",
        "prev": "sent\r",
        "terminal": "1",
        "delivery": "answered",
        "response": "a\x1b]0;owned\x07\u202eb\n",
        "at": "2026-01-02T03:04:05.678Z",
        "rtt_ms": "12",
    }
    line = render.line(fields).plain
    assert line.isprintable()
    assert "03:04:05.678" in line
    assert r"\x1b]0;owned\x07\u202eb\n" in line
    assert render.as_json("1-0", fields).isascii()
    assert render.as_json("1-0", fields).isprintable()


def test_long_and_binary_answers_fit_in_a_line() -> None:
    assert len(render.printable("x" * 1000)) == render.LONGEST
    note = partial(messages.Note, note="late_response", note_id="n1")
    assert render.answer_text(note(response_hex="00ff")) == "hex 00ff"
    assert render.answer_text(note(response="a", truncated=True)) == '"a" (cut)'
    assert render.answer_text(note()) == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("kind=note note=late_response note_id=1 state=timeout command_id=c1", "late_response  (timeout)"),
        (
            "kind=session session_id=s1 seq=2 state=ready prev=identified trigger=open terminal=0",
            "identified → ready",
        ),
        ("kind=alarm new=1", "?  kind=alarm new=1"),
        ("kind=command seq=one", "?  kind=command seq=one"),
        ("imei=1 codec=12 received_at=0 type=06 text=a", '00:00:00.000  1  codec 12 type 06  "a"'),
        ("", "?"),
    ],
)
def test_every_kind_of_entry_has_a_line(fields: str, words: str) -> None:
    assert words in render.line(dict(pair.split("=") for pair in fields.split())).plain


def _drawn(drawing: Any) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(drawing)
    return capture.get()


def test_the_way_of_a_command_is_drawn_in_the_whole_table() -> None:
    event = partial(messages.CommandEvent, command_id="c1", terminal=False)
    events = [
        event(seq=1, trigger="accept", state="queued"),
        event(seq=2, trigger="send", prev="queued", state="sent"),
        event(seq=3, trigger="time_out", prev="sent", state="timeout"),
    ]
    drawn = _drawn(path_drawing.drawing(events))
    for place, edge in enumerate(("accept → queued", "send → sent", "time_out → timeout"), 1):
        assert f"{edge}  ({place})" in drawn
    assert drawn.count(" → ") == len(COMMAND.edges)
    assert "│ queued │" in drawn


def test_a_simulation_that_reaches_nobody_says_so(telgw: Telgw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "FIRST_LINE", 0.1)
    result = telgw("simulate", "--connect", "127.0.0.1:1", "--trackers", "2", "--duration", "0.3")
    assert result.exit_code == 1
    assert "0 of 2 connected" in result.stderr
    assert "127.0.0.1" in result.stderr.splitlines()[0]


def test_a_simulation_without_a_connection_fails(telgw: Telgw, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_: Fleet) -> None: ...

    monkeypatch.setattr(Fleet, "run", run)
    result = telgw("simulate", "--trackers", "2")
    assert result.exit_code == 1
    assert "2 trackers made 0 connections" in result.stdout


@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene.name)
def test_a_demo_scene_needs_its_own_outcome(scene: Scene) -> None:
    end = {"terminal": "1", "state": scene.state, "reason": scene.reason, "delivery": min(scene.delivery)}
    note = [{"note": scene.note}] if scene.note else []
    assert Act(scene, [end, *note]).right
    assert not Act(scene, note).over
    for field in ("state", "reason", "delivery"):
        assert not Act(scene, [{**end, field: "other"}, *note]).right
    if note:
        assert not Act(scene, [end]).over
