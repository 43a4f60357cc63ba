"""A call that reaches Redis after its repetition was answered: its `sent` stands, and nothing was written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsm.moves import Status
from tests.transport.command_rig import CommandRig

LOST = ["queued not_sent", "sent maybe_sent", "failed connection_lost not_sent"]


def refused_and_late(commands: CommandRig) -> None:
    """`sent` is refused because parked commands come first; then its first call takes effect."""
    link = commands.connect()
    commands.ask()
    commands.ledger.refuse(Status.PARKED, "sent")
    commands.ledger.commit()
    commands.disconnect(link)
    assert not link.commands
    commands.ledger.arrive()


@pytest.mark.parametrize(
    ("happens", "ends"),
    [
        (lambda commands: commands.cancel(), LOST),
        (lambda commands: commands.at(60), LOST),
        (lambda commands: commands.at(300), [*LOST[:2], "timeout expired not_sent"]),
        (lambda commands: commands.dispatcher.stop(), [*LOST[:2], "failed gateway_shutdown not_sent"]),
    ],
)
async def test_a_command_whose_sent_is_late_was_not_sent(
    commands: CommandRig, happens: Callable[[CommandRig], object], ends: list[str]
) -> None:
    refused_and_late(commands)
    happens(commands)
    await commands.settle()
    assert commands.life() == ends
    assert len(commands.dispatcher.entries) == 0
