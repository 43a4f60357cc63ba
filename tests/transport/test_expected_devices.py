"""Whom a gateway expects back after its start: those that the registry names as its own, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fsm.moves import Entry
from store.client.errors import CallFailed
from tests.transport.desk import IMEI, OTHER_IMEI, Desk
from tests.transport.fake_ledger import US, Row
from transport.daemon import expected_devices

REFUSED = ["failed device_not_connected not_sent"]
WAITS = ["queued not_sent"]
GIVEN_UP = ["queued not_sent", "failed device_not_connected not_sent"]


def known(desk: Desk, *imeis: str) -> None:
    """The registry has been read, and named these devices."""
    desk.dispatcher.offline.expect(imeis)
    desk.dispatcher.registry_read()


def told(desk: Desk, command_id: str = "c-1") -> list[str]:
    """The history of a command, with everything committed that is proposed until a second from now."""
    desk.ledger.settle()
    desk.sweep()
    desk.ledger.settle()
    return desk.life(command_id)


def redelivered(desk: Desk, **more: str) -> Entry:
    """An entry whose command is queued already, in the ledger."""
    entry = Entry(US, "1767225600000-1")
    desk.ledger.set_row("c-1", Row("queued", 1, "another:1", entry, IMEI))
    desk.ledger.put(entry, {"command_id": "c-1", "imei": IMEI, "payload": "c-1"} | more)
    return entry


def test_a_command_for_an_unknown_device_is_refused_at_once(desk: Desk) -> None:
    known(desk, OTHER_IMEI)
    desk.ask()
    assert told(desk) == REFUSED


def test_a_device_of_before_the_start_is_expected_for_the_grace(desk: Desk) -> None:
    known(desk, IMEI)
    desk.at(59)
    desk.ask()
    assert told(desk) == WAITS
    desk.at(60)
    desk.ask("late")
    assert told(desk, "late") == REFUSED


def test_the_grace_of_the_start_begins_when_devices_can_connect(desk: Desk) -> None:
    desk.at(30)
    desk.dispatcher.offline.begin(desk.clock.monotonic())
    known(desk, IMEI)
    desk.at(89)
    desk.ask()
    assert told(desk) == WAITS


def test_commands_before_the_registry_is_read_wait_for_it(desk: Desk) -> None:
    desk.ask()
    desk.ask("c-2", OTHER_IMEI)
    assert (told(desk), told(desk, "c-2")) == (WAITS, WAITS)
    known(desk, OTHER_IMEI)
    assert (told(desk), told(desk, "c-2")) == (GIVEN_UP, WAITS)


def test_a_device_connecting_during_the_recall_is_served(desk: Desk) -> None:
    desk.ask()
    desk.ledger.settle()
    link = desk.connect()
    known(desk)
    desk.ledger.settle()
    assert link.texts == ["c-1"]


def test_commands_of_before_the_start_wait_the_whole_grace(desk: Desk) -> None:
    """It may be with another instance by now, and follows it there."""
    redelivered(desk)
    desk.redeliver()
    known(desk)
    desk.at(5)
    assert told(desk) == []
    assert len(desk.dispatcher.offline.waiting(IMEI)) == 1
    desk.at(70)
    assert told(desk) == REFUSED


@pytest.mark.parametrize("here", [False, True], ids=["not expected", "expected"])
def test_what_another_instance_hands_over_obeys_the_same_rule(desk: Desk, here: bool) -> None:
    known(desk, *[IMEI] * here)
    desk.read(redelivered(desk, hops="1"))
    assert told(desk) == ([] if here else REFUSED)


def test_a_hand_over_while_the_registry_is_read_obeys_it(desk: Desk) -> None:
    desk.read(redelivered(desk, hops="1"))
    assert told(desk) == []
    known(desk)
    assert told(desk) == REFUSED


def test_expected_devices_are_forgotten_after_the_grace(desk: Desk) -> None:
    known(desk, IMEI)
    desk.at(60)
    assert not desk.dispatcher.offline._ours


# Reading the registry


async def read_registry(desk: Desk, pages: list[Any]) -> list[str]:
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
    await expected_devices.read_expected(owns, desk.dispatcher, cast(Any, backend), desk.clock)
    return reported


async def test_a_registry_that_cannot_be_read_is_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected_devices, "AGAIN_AFTER", 0.0)
    pages = [[b"1"], CallFailed("refused"), [IMEI.encode()], [OTHER_IMEI.encode()]]
    assert await read_registry(desk, pages) == ["expected devices"]
    desk.ask()
    assert told(desk) == WAITS


async def test_after_the_grace_the_registry_is_not_read(desk: Desk) -> None:
    """Redis was away at the start, for longer than that: whoever wanted to come back has done so."""
    desk.at(60)
    pages = [[IMEI.encode()]]
    await read_registry(desk, pages)
    desk.ask()
    assert (told(desk), len(pages)) == (REFUSED, 1)
