"""The commands that have not ended, read for people from the outbound streams and the ledgers.

An entry stays on the stream of its instance until its command has ended, so these streams are the list of
what is in flight. The text of a command is read with its entry and not kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from fsm.command import COMMAND, QUEUED, SENT
from fsm.reasons import MAYBE_SENT, NOT_SENT
from store.client.client import Calls
from store.client.errors import StoreError
from store.client.numbers import whole
from store.keys import Keys
from store.streams.entry_ids import after

PAGE = 500
UNREAD = "unread"
"""The state of a command that its gateway has not read yet."""

_LEDGER = ("state", "instance_id", "outbound_id", "accepted_at", "expires_at", "session_id", "codec")

RawEntry = tuple[bytes, dict[bytes, bytes]]


@dataclass(slots=True, frozen=True)
class OpenCommand:
    """A command that has not ended.

    Attributes:
        instance_id: the gateway whose stream has it; empty for one that is parked.
        outbound_id: its entry.
        state: ``queued``, ``sent`` or `UNREAD`.
        accepted_at: when a gateway accepted it, else when it was published; epoch ms.
        expires_at: epoch ms; None as long as no gateway has read it.
        session_id: the connection on which it was sent; empty before.
    """

    command_id: str
    imei: str
    instance_id: str
    outbound_id: str
    state: str
    accepted_at: int
    expires_at: int | None = None
    session_id: str = ""
    codec: str = ""

    @property
    def delivery(self) -> str:
        """Whether the vehicle may have obeyed, as far as is known now."""
        return MAYBE_SENT if self.state == SENT else NOT_SENT

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the stream of its instance."""
        milliseconds, _, serial = self.outbound_id.partition("-")
        return int(milliseconds), int(serial)


async def open_commands(client: Redis, keys: Keys, instance_ids: Iterable[str]) -> list[OpenCommand]:
    """The commands on the streams of these instances that have not ended, the oldest first.

    Raises:
        StoreError: a call failed.
    """
    found: list[OpenCommand] = []
    for instance_id in instance_ids:
        async for page in _pages(client, keys.outbound(instance_id)):
            found += await _commands(client, keys, instance_id, page)
    return sorted(found, key=lambda command: (command.accepted_at, command.order))


async def parked_commands(client: Redis, keys: Keys, imei: str = "") -> AsyncIterator[OpenCommand]:
    """The commands that are parked for devices that are connected nowhere, or for the device `imei`.

    They come by device, the one first whose commands may expire first, and as they are read: there may be a
    million. What is parked or leaves meanwhile may be missed.

    Raises:
        StoreError: a call failed.
    """
    start = 0
    while imeis := [imei] if imei else await _parked_devices(client, keys, start):
        streams = [["XRANGE", keys.parked(one), "-", "+"] for one in imeis]
        entries = [
            entry for reply in await cast(Calls, client).batch(streams) for entry in _without_error(reply)
        ]
        for command in await _commands(client, keys, "", entries):
            yield command
        if imei:
            return
        start += len(imeis)


async def _parked_devices(client: Redis, keys: Keys, start: int) -> list[str]:
    page: Any = await cast(Any, client).zrange(keys.parked_devices, start, start + PAGE - 1)
    return [_text(imei) for imei in page]


def _without_error(reply: Any) -> Any:
    if isinstance(reply, StoreError):
        raise reply
    return reply


async def _pages(client: Redis, stream: str) -> AsyncIterator[list[RawEntry]]:
    start: str | None = "-"
    while start:
        page: Any = await client.xrange(stream, start, count=PAGE)
        if page:
            yield page
        if len(page) < PAGE:
            return
        start = after(page[-1][0])


async def _commands(client: Redis, keys: Keys, instance_id: str, page: list[RawEntry]) -> list[OpenCommand]:
    entries = [(entry_id.decode(), _names(fields)) for entry_id, fields in page]
    calls = [["HMGET", keys.ledger(command_id), *_LEDGER] for _, (command_id, _) in entries]
    found = []
    for (entry_id, (command_id, imei)), values in zip(
        entries, await cast(Calls, client).batch(calls), strict=True
    ):
        values = _without_error(values)
        ledger = {
            name: _text(value) for name, value in zip(_LEDGER, values, strict=True) if value is not None
        }
        if command_id and (command := _open(command_id, imei, instance_id, entry_id, ledger)):
            found.append(command)
    return found


def _names(fields: dict[bytes, bytes]) -> tuple[str, str]:
    """Command id and IMEI of an entry; the id is empty if it is no command."""
    is_command = fields.get(b"type", b"command") in (b"command", b"", b"undefined", b"null")
    return _text(fields.get(b"command_id", b"")) if is_command else "", _text(fields.get(b"imei", b""))


def _open(
    command_id: str, imei: str, instance_id: str, entry_id: str, ledger: dict[str, str]
) -> OpenCommand | None:
    """The command of an entry; None if it has ended, or the entry only repeats it."""
    published = int(entry_id.partition("-")[0])
    if not ledger:
        return OpenCommand(command_id, imei, instance_id, entry_id, UNREAD, published)
    owner = ledger.get("instance_id"), ledger.get("outbound_id")
    state = ledger.get("state", QUEUED)
    if owner != (instance_id, entry_id) or state in COMMAND.terminal:
        return None
    return OpenCommand(
        command_id,
        imei,
        instance_id,
        entry_id,
        state,
        whole(ledger.get("accepted_at", ""), published),
        whole(ledger.get("expires_at", ""), 0) or None,
        ledger.get("session_id", ""),
        ledger.get("codec", ""),
    )


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
