"""Dead letters for an operator: they are read, deleted, and their commands put back.

The text of a command is only in the entry that is kept apart from its letter. Nothing here reads it: a script
moves that entry within Redis.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from redis.asyncio import Redis

from fsm.dead_letters import requeued_id
from fsm.outbound import COMMAND_ID, WAIT
from fsm.reasons import INTERNAL_ERROR, NOT_SENT
from store.client.replies import understood
from store.client.script import Script
from store.keys import Keys
from store.streams.producer import Producer, reaching
from store.streams.search import Found, newest


class Requeue(StrEnum):
    """What became of a dead letter whose command was to be put back."""

    OK = "OK"
    NO_LETTER = "NO_LETTER"
    """There is no such dead letter."""
    INVALID = "INVALID"
    """The entry was no command that a gateway could have carried out."""
    SENT = "SENT"
    """The device may have obeyed already."""
    NOT_KEPT = "NOT_KEPT"
    """The text is not kept, or not any more."""
    KNOWN = "KNOWN"
    """Another entry of the same command was processed since."""
    EXPIRED = "EXPIRED"
    """The time of the command is over."""
    NOT_CONNECTED = "NOT_CONNECTED"
    """No living gateway holds the device; or, for a command that waits, none is alive."""


@dataclass(slots=True, frozen=True)
class Requeued:
    """A dead letter whose command was to be put back.

    Attributes:
        command_id: of the new command; empty if the letter has none.
        instance_id, outbound_id: where its entry is; empty unless it was put back.
    """

    result: Requeue
    command_id: str = ""
    instance_id: str = ""
    outbound_id: str = ""


class DeadLetters:
    """The dead letters of a fleet.

    Every method raises `StoreUnreachable` when Redis does not answer or refuses.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client: Any = client
        self._keys = keys
        self._script = Script("requeue.lua")

    async def newest(self, start: str = "-", until: str = "+") -> AsyncIterator[Found]:
        """The letters from `start` to `until` (ids of entries, included), the newest first."""
        with reaching():
            async for found in newest(self._client, self._keys.deadletter, {}, start=start, until=until):
                yield found

    async def _letter(self, letter_id: str) -> dict[str, str] | None:
        with reaching():
            found = await self._client.xrange(self._keys.deadletter, letter_id, letter_id)
        return {_text(name): _text(value) for name, value in found[0][1].items()} if found else None

    async def drop(self, letter_id: str) -> bool:
        """Delete a letter and what is kept of its entry; whether there was one."""
        letter = await self._letter(letter_id)
        if letter is None:
            return False
        with reaching():
            # The text goes first: without its letter nobody would find it.
            if kept_id := letter.get("kept_id"):
                await self._client.xdel(self._keys.kept, kept_id)
            return bool(await self._client.xdel(self._keys.deadletter, letter_id))

    async def requeue(self, letter_id: str, expires_at: int | None = None) -> Requeued:
        """Put the command of a letter back, under a new id, and delete the letter; both or neither.

        It goes to the gateway that holds the device now. After a lost reply it may be called again: the new
        id follows from the old one, so a gateway never sends the command twice.

        Args:
            expires_at: epoch ms from which it is not sent any more; None for the time that its producer gave.

        Raises:
            NotPublished: it was not put back.
        """
        letter = await self._letter(letter_id)
        if letter is None:
            return Requeued(Requeue.NO_LETTER)
        if (fault := _fault(letter)) is not None:
            return Requeued(fault)
        waits = letter.get("offline") == WAIT
        any_instance = (await Producer(self._client, self._keys).live_instance() or "") if waits else ""
        new_id, keys = requeued_id(letter["command_id"]), self._keys
        arguments = (
            *(letter_id, letter["kept_id"], new_id, keys.ledger(letter["command_id"])),
            *(letter.get("outbound_id", ""), "" if expires_at is None else str(expires_at), any_instance),
            *(keys.registry, keys.heartbeat(""), keys.outbound("")),
        )
        with reaching(appending=True):
            reply = await self._script(self._client, [keys.deadletter, keys.kept], arguments)
            return await understood(self._client, reply, partial(_read, new_id))


def _read(new_id: str, reply: Any) -> Requeued:
    status, *place = (part.decode() for part in reply)
    return Requeued(Requeue(status), new_id, *place)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _fault(letter: Mapping[str, str]) -> Requeue | None:
    """Why a letter has no entry that could be put back; None if it says that it has one."""
    if letter.get("kept_id") and COMMAND_ID.fullmatch(letter.get("command_id", "")):
        return None
    if letter.get("error") != INTERNAL_ERROR:
        return Requeue.INVALID
    if letter.get("delivery", NOT_SENT) != NOT_SENT:
        return Requeue.SENT
    return Requeue.NOT_KEPT
