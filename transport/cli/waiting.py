"""Says on standard error what a command waits for, as soon as nothing has happened for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from store.client.errors import StoreError
from store.fleet.devices import DeviceReader
from store.fleet.waits import Wait, wait_of
from store.keys import Keys

from . import stderr
from .event_loop import cancel
from .wait_texts import WAITS

FIRST_LOOK, LONGEST_PAUSE = 2.0, 15.0
"""Seconds before the first look, and between two looks at most: a look reads all commands in flight."""

_MORE = {
    Wait.LATE_ANSWER: (
        "that comes within --drain-timeout of the gateway (30 s by default)",
        "else the connection is closed and the command goes out on the next one",
    )
}
"""What comes next, where the words of a table leave it out."""


@asynccontextmanager
async def saying_why(client: Any, keys: Keys, imei: str, command_id: str) -> AsyncIterator[None]:
    """Within the block it is said what the command waits for, and again when that changes."""
    saying = asyncio.create_task(_say(client, keys, imei, command_id), name="what it waits for")
    try:
        yield
    finally:
        await cancel(saying)


async def _say(client: Any, keys: Keys, imei: str, command_id: str) -> None:
    told: Wait | None = None
    pause = FIRST_LOOK
    with suppress(StoreError):  # whoever follows the command tells of an outage
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            wait = await _wait(client, keys, imei, command_id)
            if wait is not None and wait not in (told, Wait.ANSWER):  # of an answer the events tell
                stderr.remark("; ".join([f"The command waits: {WAITS[wait]}", *_MORE.get(wait, ())]) + ".")
            told = wait


async def _wait(client: Any, keys: Keys, imei: str, command_id: str) -> Wait | None:
    """What the command waits for; None if it is not in flight."""
    reader = DeviceReader(client, keys)
    for device in await reader.waited_for([imei]):
        for command in device.commands:
            if command.command_id == command_id:
                return wait_of(command, device, reader.alive)
    return None
