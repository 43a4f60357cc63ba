"""A cancel that is read again while it is answered, or when it could not be carried out."""

from __future__ import annotations

import asyncio

from fsm.moves import Entry, Status
from tests.transport.command_rig import IMEI, CommandRig
from tests.transport.fake_ledger import Row

# Cancels


async def test_a_cancel_that_is_being_answered_is_not_taken_again(commands: CommandRig) -> None:
    """Neither while its command is looked up, nor while it is being called off."""
    entry = Entry("gw-2", "1767225000000-0")
    commands.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", entry, IMEI))
    cancel = commands.cancel()
    commands.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert commands.ledger.depth == 1
    commands.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert commands.ledger.depth == 1
    commands.ledger.commit()
    assert (commands.life(), commands.notes()) == (["failed cancelled not_sent"], [])


async def test_a_cancel_of_a_forgotten_command_finds_it_unknown(commands: CommandRig) -> None:
    commands.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI))
    commands.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    commands.ledger.lose_rows()
    for _ in range(5):
        commands.ledger.commit()
        await asyncio.sleep(0)
    commands.ledger.commit()
    assert commands.notes() == [("cancel_rejected", "c-1", "unknown")]


async def test_a_failed_cancel_is_carried_out_when_read_again(commands: CommandRig) -> None:
    commands.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI))
    commands.ledger.refuse(Status.ERROR, "failed", detail="WRONGTYPE")
    cancel = commands.cancel()
    for _ in range(2):
        for _ in range(3):
            await asyncio.sleep(0)
        commands.ledger.commit()
        commands.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    commands.ledger.commit()
    assert commands.life() == ["failed cancelled not_sent"]
