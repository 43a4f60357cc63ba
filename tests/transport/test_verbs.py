"""The operator's list of verbs: which commands it lets through, and how the others end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from fsm.outbound import verb_allowed
from tests.transport.command_rig import CommandRig
from transport.cli import cli, run
from transport.cli.parameters import Verbs
from transport.settings import Settings

MakeCommands = Callable[..., CommandRig]
VERBS = ("getinfo", "getver", "setdigout")


@pytest.mark.parametrize(
    "text", ["getinfo", "getver", "setdigout 11 60", " getinfo", "  getinfo", "setdigout  1", "getinfo "]
)
def test_a_command_with_a_listed_verb_is_allowed(text: str) -> None:
    assert verb_allowed(text.encode(), VERBS)


@pytest.mark.parametrize(
    "text",
    [
        "cpureset",
        "getinfos",
        "getinf",
        "GETINFO",
        "getinfo,setparam",
        "getinfo;cpureset",
        "login password getinfo",
        "cpureset getinfo",
        " ",
        "   ",
        "#getinfo",
    ],
)
def test_any_other_command_is_not(text: str) -> None:
    assert not verb_allowed(text.encode(), VERBS)


def test_without_a_list_every_command_is_allowed(commands: CommandRig) -> None:
    assert verb_allowed(b"cpureset", ())
    link = commands.connect()
    commands.ask(payload="cpureset")
    commands.ledger.commit()
    assert link.texts == ["cpureset"]


def test_a_forbidden_command_is_refused_and_never_written(make_commands: MakeCommands) -> None:
    commands = make_commands(allow_verbs=VERBS)
    link = commands.connect()
    entry = commands.ask(payload="setparam 2004:evil.example")
    commands.ledger.commit()
    assert commands.life() == ["failed not_allowed not_sent"]
    assert [event.seq for event in commands.ledger.events("c-1")] == [1]
    assert (link.texts, entry in commands.ledger.stream) == ([], False)
    assert "evil" not in str(commands.ledger.log)


def test_an_allowed_command_is_written_as_ever(make_commands: MakeCommands) -> None:
    commands = make_commands(allow_verbs=VERBS)
    link = commands.connect()
    commands.ask(payload="  getinfo")
    commands.ledger.commit()
    assert link.texts == ["  getinfo"]


def test_a_forbidden_verb_is_reported_before_a_missing_device(make_commands: MakeCommands) -> None:
    commands = make_commands(allow_verbs=VERBS, reconnect_grace=0.0)
    commands.at(10)
    commands.ask(payload="cpureset")
    commands.ledger.commit()
    assert commands.life() == ["failed not_allowed not_sent"]


def test_a_cancel_needs_no_verb(make_commands: MakeCommands) -> None:
    commands = make_commands(allow_verbs=VERBS)
    commands.connect(ready=False)
    commands.ask(payload="getinfo")
    commands.ledger.commit()
    commands.cancel()
    commands.ledger.commit()
    assert commands.life()[-1] == "failed cancelled not_sent"


@pytest.mark.parametrize(
    ("value", "verbs"),
    [
        ("off", ()),
        ("getinfo", ("getinfo",)),
        ("getinfo, getver,setdigout", VERBS),
        (["getinfo", "getver"], ("getinfo", "getver")),
    ],
)
def test_verbs_are_separated_by_commas(value: object, verbs: tuple[str, ...]) -> None:
    assert Verbs().convert(value, None, None) == verbs


@pytest.mark.parametrize("value", ["", "get info", "getinfo,", "gét", "a\x1bb"])
def test_an_invalid_verb_is_an_error(value: str) -> None:
    result = CliRunner().invoke(cli, ["run", "--allow-verbs", value])
    assert result.exit_code == 2
    assert "--allow-verbs" in result.stderr


def test_the_environment_and_the_command_line_set_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(run, "start", lambda settings, _: seen.append(settings) or 0)
    CliRunner().invoke(cli, ["run", "--allow-verbs", "getinfo,getver"])
    CliRunner().invoke(cli, ["run"], env={"TELGW_ALLOW_VERBS": "getinfo"})
    assert [settings.allow_verbs for settings in seen] == [("getinfo", "getver"), ("getinfo",)]
