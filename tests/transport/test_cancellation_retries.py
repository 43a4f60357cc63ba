"""A cancel that is read again while it is answered, or when it could not be carried out."""

from __future__ import annotations

import asyncio

from fsm.moves import Entry, Status
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import Row

# Cancels


async def test_a_cancel_that_is_being_answered_is_not_taken_again(desk: Desk) -> None:
    """Neither while its command is looked up, nor while it is being called off."""
    entry = Entry("gw-2", "1767225000000-0")
    desk.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", entry, IMEI))
    cancel = desk.cancel()
    desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert desk.ledger.depth == 1
    desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert desk.ledger.depth == 1
    desk.ledger.settle()
    assert (desk.life(), desk.notes()) == (["failed cancelled not_sent"], [])


async def test_a_cancel_of_a_forgotten_command_finds_it_unknown(desk: Desk) -> None:
    desk.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI))
    desk.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    desk.ledger.lose_rows()
    for _ in range(5):
        desk.ledger.settle()
        await asyncio.sleep(0)
    desk.ledger.settle()
    assert desk.notes() == [("cancel_rejected", "c-1", "unknown")]


async def test_a_failed_cancel_is_carried_out_when_read_again(desk: Desk) -> None:
    desk.ledger.set_row("c-1", Row("queued", 1, "boot-z:1", Entry("gw-2", "1767225000000-0"), IMEI))
    desk.ledger.refuse(Status.ERROR, "failed", detail="WRONGTYPE")
    cancel = desk.cancel()
    for _ in range(2):
        for _ in range(3):
            await asyncio.sleep(0)
        desk.ledger.settle()
        desk.read(cancel, fresh=False)
    for _ in range(3):
        await asyncio.sleep(0)
    desk.ledger.settle()
    assert desk.life() == ["failed cancelled not_sent"]
