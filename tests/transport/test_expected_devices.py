"""Whom a gateway expects back after its start: those that the registry names as its own, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fsm.moves import Entry
from store.client.errors import CallFailed
from tests.transport.command_rig import IMEI, OTHER_IMEI, CommandRig
from tests.transport.fake_ledger import US, Row
from transport.connection.known_devices import KnownDevices
from transport.daemon import expected_devices

REFUSED = ["failed device_not_connected not_sent"]
WAITS = ["queued not_sent"]
GIVEN_UP = ["queued not_sent", "failed device_not_connected not_sent"]


def known(commands: CommandRig, *imeis: str) -> None:
    """The registry has been read, and named these devices."""
    commands.dispatcher.offline.expect(imeis)
    commands.dispatcher.registry_read()


def told(commands: CommandRig, command_id: str = "c-1") -> list[str]:
    """The history of a command, with everything committed that is proposed until a second from now."""
    commands.ledger.commit()
    commands.sweep()
    commands.ledger.commit()
    return commands.life(command_id)


def redelivered(commands: CommandRig, hops: int = 0) -> Entry:
    """An entry whose command is queued already, in the ledger."""
    entry = Entry(US, "1767225600000-1")
    commands.ledger.set_row("c-1", Row("queued", 1, "another:1", entry, IMEI, hops=hops))
    commands.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"})
    return entry


def test_a_command_for_an_unknown_device_is_refused_at_once(commands: CommandRig) -> None:
    known(commands, OTHER_IMEI)
    commands.ask()
    assert told(commands) == REFUSED


def test_a_device_of_before_the_start_is_expected_for_the_grace(commands: CommandRig) -> None:
    known(commands, IMEI)
    commands.at(59)
    commands.ask()
    assert told(commands) == WAITS
    commands.at(60)
    commands.ask("late")
    assert told(commands, "late") == REFUSED


def test_the_grace_of_the_start_begins_when_devices_can_connect(commands: CommandRig) -> None:
    commands.at(30)
    commands.dispatcher.offline.begin(commands.clock.monotonic())
    known(commands, IMEI)
    commands.at(89)
    commands.ask()
    assert told(commands) == WAITS


def test_commands_before_the_registry_is_read_wait_for_it(commands: CommandRig) -> None:
    commands.ask()
    commands.ask("c-2", OTHER_IMEI)
    assert (told(commands), told(commands, "c-2")) == (WAITS, WAITS)
    known(commands, OTHER_IMEI)
    assert (told(commands), told(commands, "c-2")) == (GIVEN_UP, WAITS)


def test_a_device_connecting_during_the_recall_is_served(commands: CommandRig) -> None:
    commands.ask()
    commands.ledger.commit()
    link = commands.connect()
    known(commands)
    commands.ledger.commit()
    assert link.texts == ["c-1"]


def test_commands_of_before_the_start_wait_the_whole_grace(commands: CommandRig) -> None:
    """It may be with another instance by now, and follows it there."""
    redelivered(commands)
    commands.redeliver()
    known(commands)
    commands.at(5)
    assert told(commands) == []
    assert len(commands.dispatcher.offline.waiting(IMEI)) == 1
    commands.at(70)
    assert told(commands) == REFUSED


@pytest.mark.parametrize("here", [False, True], ids=["not expected", "expected"])
def test_what_another_instance_hands_over_obeys_the_same_rule(commands: CommandRig, here: bool) -> None:
    known(commands, *[IMEI] * here)
    commands.read(redelivered(commands, hops=1))
    assert told(commands) == ([] if here else REFUSED)


def test_a_hand_over_while_the_registry_is_read_obeys_it(commands: CommandRig) -> None:
    commands.read(redelivered(commands, hops=1))
    assert told(commands) == []
    known(commands)
    assert told(commands) == REFUSED


def test_expected_devices_are_forgotten_after_the_grace(commands: CommandRig) -> None:
    known(commands, IMEI)
    commands.at(60)
    assert not commands.dispatcher.offline._ours


# Reading the registry


async def read_registry(
    commands: CommandRig, pages: list[Any], memory: KnownDevices | None = None
) -> list[str]:
    """Read a registry that answers with these pages, of which an error is raised; the errors reported."""
    reported: list[str] = []

    async def ours() -> AsyncIterator[list[bytes]]:
        while pages:
            page = pages.pop(0)
            if isinstance(page, Exception):
                raise page
            yield page

    owns = asyncio.Event()
    owns.set()
    backend = SimpleNamespace(ours=ours, report=lambda part, error: reported.append(part))
    known, clock = KnownDevices() if memory is None else memory, commands.clock
    await expected_devices.read_expected(owns, commands.dispatcher, known, cast(Any, backend), clock)
    return reported


async def test_who_is_known_is_read_again_until_redis_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_devices, "AGAIN_AFTER", 0.0)
    pages: list[Any] = [["1"], CallFailed("refused"), ["2"], ["3"], ["4"]]
    recalled: list[str] = []
    owns = asyncio.Event()
    owns.set()

    async def reporting(span: float) -> AsyncIterator[list[str]]:
        while pages:
            page = pages.pop(0)
            if isinstance(page, Exception):
                raise page
            yield page

    def recall(imeis: list[str]) -> bool:
        recalled.extend(imeis)
        return "3" not in imeis

    backend = SimpleNamespace(reporting=reporting, report=lambda part, error: recalled.append(part))
    await expected_devices.read_known(owns, cast(Any, SimpleNamespace(recall=recall)), cast(Any, backend))
    assert (recalled, pages) == (["1", "known devices", "2", "3"], [["4"]])


async def test_a_registry_that_cannot_be_read_is_read_again(
    commands: CommandRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected_devices, "AGAIN_AFTER", 0.0)
    pages = [[b"1"], CallFailed("refused"), [IMEI.encode()], [OTHER_IMEI.encode()]]
    memory = KnownDevices()
    assert await read_registry(commands, pages, memory) == ["expected devices"]
    assert (IMEI in memory, OTHER_IMEI in memory) == (True, True)
    commands.ask()
    assert told(commands) == WAITS


async def test_after_the_grace_the_registry_is_not_read(commands: CommandRig) -> None:
    """Redis was away at the start, for longer than that: whoever wanted to come back has done so."""
    commands.at(60)
    pages = [[IMEI.encode()]]
    await read_registry(commands, pages)
    commands.ask()
    assert (told(commands), len(pages)) == (REFUSED, 1)
