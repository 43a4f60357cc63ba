"""A policy at the gateway: what it refuses is never written, and the rule is named, never the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fsm.command_policy import read_policy
from tests.transport.command_line import Telgw
from tests.transport.command_rig import OTHER_IMEI, CommandRig

MakeCommands = Callable[..., CommandRig]
RULES = """
[[rule]]
name = "risky"
allow = ["cpureset"]
confirm = true
[[rule]]
name = "grave"
allow = ["defaultcfg"]
two_persons = true
[[rule]]
name = "often"
allow = ["getinfo"]
rate = "2/m"
[[rule]]
name = "trucks"
allow = ["getver"]
families = ["FMx6"]
[[rule]]
name = "never"
deny = ["setparam ..."]
"""


def told(commands: CommandRig, command_id: str = "c-1") -> tuple[str, str]:
    """The last state of a command with its reason, and the detail."""
    commands.ledger.commit()
    event = commands.ledger.events(command_id)[-1]
    return f"{event.state} {event.reason}".strip(), event.detail


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("setparam 2004:evil.example", "rule never"),
        ("defaultcfg evil", "rule default"),
        ("defaultcfg", "rule grave: requested_by and confirmed_by do not name two persons"),
        ("cpureset", "rule risky: confirm=1 is missing"),
        ("getver", "rule trucks"),
    ],
)
def test_a_command_against_the_rules_is_refused(make_commands: MakeCommands, text: str, detail: str) -> None:
    commands = make_commands(rules=RULES, families=("FMB120", "FMB"))
    link = commands.connect()
    commands.ask(payload=text)
    assert told(commands) == ("failed not_allowed", detail if text != "getver" else "rule default")
    assert link.texts == []
    assert "evil" not in str(commands.ledger.log)


def test_a_confirmed_command_is_written(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES)
    link = commands.connect()
    commands.ask(payload="cpureset", confirm="1")
    commands.ledger.commit()
    assert link.texts == ["cpureset"]


def test_a_command_of_two_persons_is_written_and_its_events_name_both(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES)
    link = commands.connect()
    names = {"requested_by": "ann", "confirmed_by": "bob"}
    commands.ask(payload="defaultcfg", **names)
    commands.ledger.commit()
    assert link.texts == ["defaultcfg"]
    assert [dict(event.echo) for event in commands.ledger.events("c-1")] == [names, names]


def test_a_rule_is_for_devices_of_its_families(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES, families=("FMC650", "FMx6"))
    link = commands.connect()
    commands.ask(payload="getver")
    commands.ledger.commit()
    assert link.texts == ["getver"]


def test_a_device_gets_no_more_commands_than_its_rate(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES)
    commands.connect()
    commands.connect(OTHER_IMEI)
    for number in (1, 2, 3):
        commands.ask(f"c-{number}", payload="getinfo")
    commands.ask("other", OTHER_IMEI, payload="getinfo")
    assert told(commands, "c-3") == ("failed not_allowed", "rule often: more than 2 in 60 s")
    assert told(commands, "c-2")[0] == told(commands, "other")[0].replace("sent", "queued") == "queued"
    commands.at(60)
    commands.ask("c-4", payload="getinfo")
    assert told(commands, "c-4")[0] == "queued"


def test_a_command_that_is_refused_otherwise_is_not_counted(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES, reconnect_grace=0.0)
    commands.at(1)
    for number in (1, 2, 3):
        commands.ask(f"c-{number}", payload="getinfo")
    assert told(commands, "c-3")[0] == "failed device_not_connected"


def test_another_policy_counts_at_once(make_commands: MakeCommands) -> None:
    commands = make_commands(rules=RULES)
    link = commands.connect()
    commands.policy.use(read_policy('default = "allow"', "p"))
    commands.ask(payload="defaultcfg")
    commands.ledger.commit()
    assert link.texts == ["defaultcfg"]


def test_a_policy_can_be_tried_without_sending(telgw: Telgw, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(RULES)
    result = telgw("policy", "check", "getinfo", "--file", path)
    assert (result.exit_code, result.stdout) == (
        0,
        "allowed by rule often, at most 2 in 60 s for each device\n",
    )
    assert telgw("policy", "check", "cpureset", "--file", path).stdout == (
        "allowed by rule risky, with confirm=1\n"
    )
    assert telgw("policy", "check", "defaultcfg", "--file", path).stdout == (
        "allowed by rule grave, with two persons in requested_by and confirmed_by\n"
    )
    result = telgw("policy", "check", "-", "--file", path, input="setparam 5003:secret\n")
    assert (result.exit_code, result.stdout) == (1, "not allowed by rule never\n")
    assert telgw("policy", "check", "getver", "--file", path).exit_code == 1
    assert telgw("policy", "check", "getver", "--family", "FMC650", "--file", path).exit_code == 0
    assert "5 rules; any other text is not allowed" in telgw("policy", "check", "--file", path).stdout
    path.write_text("[[rule]]")
    result = telgw("policy", "check", "--file", path)
    assert result.exit_code == 2
    assert "policy.toml, rule 1: needs a name" in result.stderr
