"""Who owns an instance id, and when a starting process may take it.

Two processes with one instance id would take the devices and the commands from each other, so a process that
starts must not displace one that lives. What it sees in Redis is the boot id of the owner, the owner's last
heartbeat, and what the owner says of itself (`Holder`). The rule, in `Watch.judge`:

    this very process owns the id                                 take it
    nobody does, and all our calls to Redis came through          take it
    --take-over was given                                         take it
    nobody does, and none has shown up for a margin               take it
    the owner is proved dead (see `transport.daemon.presence`)    take it
    its heartbeat has changed since we first looked               it lives: raise `InstanceHeld`
    its heartbeat has not changed for its interval and a margin   take it
    otherwise                                                     look again: raise `HolderWatched`

Only a change of the heartbeat counts, never its value, so no clock has to be right. The time without a change
counts only while Redis answers: an owner that cannot reach Redis shows no sign of life. After an outage that
has outlived the ownership, or has cost Redis its data, the owner comes back at the same time as we do, so we
let it come first. The take-over itself is one script that compares what was seen last: a heartbeat that comes
in between makes it fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from fsm.errors import GatewayFault
from store.client.errors import NotOwnerYet

MARGIN = 2.0
"""Seconds after its interval at which a heartbeat counts as missed: a call, and a loop that is busy."""
COMES_BACK = 1.0 + MARGIN
"""Seconds in which an owner that lives has beaten again after an outage: it tries once a second."""
LONGEST_INTERVAL = 3600.0
FREE, GONE, SILENT, FORCED = "free", "gone", "silent", "forced"
"""Why an instance id may be taken."""


@dataclass(slots=True, frozen=True)
class Holder:
    """The process that owns an instance id, in its own words.

    Attributes:
        boot_id: of the process.
        host: name of its host, for people.
        pid: its number, as that host or container counts.
        place: where its presence can be looked for; empty when nowhere.
        interval: seconds between its heartbeats.
        since_ms: when it took the id, epoch ms by the clock of Redis; 0 when that is not known.
    """

    boot_id: str
    host: str = ""
    pid: int = 0
    place: str = ""
    interval: float = 0.0
    since_ms: int = 0

    def __str__(self) -> str:
        if not self.host:
            return "a process that does not say where it runs"
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat("T", "seconds")
        return f"process {self.pid} on host {self.host}, since {since.replace('+00:00', 'Z')}"

    def fields(self) -> list[str]:
        """Names and values for the hash in Redis; the script adds ``since``."""
        return [
            *("boot", self.boot_id, "host", self.host, "pid", str(self.pid)),
            *("place", self.place, "interval", str(self.interval)),
        ]

    @classmethod
    def read(cls, boot_id: str, found: Mapping[bytes, bytes]) -> Holder:
        """What the hash in Redis says of the process `boot_id`: nothing, when it is of another process."""
        text = {name.decode(errors="replace"): _printable(value) for name, value in found.items()}
        if text.get("boot") != boot_id:
            return cls(boot_id)
        return cls(
            boot_id,
            text.get("host", ""),
            int(_number(text.get("pid", ""))),
            text.get("place", ""),
            min(_number(text.get("interval", "")), LONGEST_INTERVAL),
            int(min(_number(text.get("since", "")), 2.0**47)),
        )


def _printable(value: bytes) -> str:
    """Text from Redis as it may be shown: whoever can write there could have put anything."""
    return "".join(char if char.isprintable() else "?" for char in value.decode(errors="replace"))[:256]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0.0 <= number < float("inf") else 0.0


class InstanceHeld(GatewayFault):
    """A living process owns the instance id that this one was given."""

    def __init__(self, instance_id: str, holder: Holder) -> None:
        super().__init__(
            f"The instance id {instance_id!r} belongs to a living gateway: {holder}. Stop that one first, "
            "or give this one another --instance-id, or take the id from it with --take-over."
        )
        self.instance_id = instance_id
        self.holder = holder


class HolderWatched(NotOwnerYet):
    """Another process owns the instance id, and may live; or nobody seems to own it, and that may be wrong.

    Attributes:
        holder: its owner; ``Holder("")`` for nobody.
        patience: seconds without a heartbeat after which it counts as dead.
    """

    def __init__(self, holder: Holder, patience: float) -> None:
        super().__init__(f"The instance id is held by {holder}." if holder.boot_id else "It may be held.")
        self.holder = holder
        self.patience = patience


class Seen(NamedTuple):
    """One look: boot id of the owner and its last heartbeat, both empty for none, and its own words."""

    boot: bytes = b""
    beat: bytes = b""
    holder: Holder = Holder("")


def _nobody_is_gone(_: Holder) -> bool:
    return False


class Watch:
    """Judges one look after another.

    Args:
        instance_id: the id that is wanted; own: tells who wants it.
        forced: take it whoever has it.
        is_gone: whether a process is proved to have ended; False when that cannot be known.
        monotonic: seconds.
    """

    def __init__(
        self,
        instance_id: str,
        own: Callable[[], Holder],
        *,
        forced: bool = False,
        is_gone: Callable[[Holder], bool] = _nobody_is_gone,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instance_id = instance_id
        self._own = own
        self._forced = forced
        self._is_gone = is_gone
        self._monotonic = monotonic
        self._first: Seen | None = None
        self._since = 0.0
        self._outage = False

    @property
    def own(self) -> Holder:
        """Who wants the id."""
        return self._own()

    def judge(self, seen: Seen) -> str:
        """Why the id may be taken from the owner that was seen.

        Raises:
            InstanceHeld: the owner lives.
            HolderWatched: that is not known yet.
        """
        own, now = self.own, self._monotonic()
        if seen.boot == own.boot_id.encode() or self._is_given_up(seen):
            return FREE
        if self._forced:
            return FORCED
        if self._first is not None and self._first[:2] != seen[:2]:
            raise InstanceHeld(self._instance_id, seen.holder)
        if seen.boot and self._is_gone(seen.holder):
            return GONE
        if self._first is None:
            self._first, self._since = seen, now
        patience = (seen.holder.interval or own.interval) + MARGIN if seen.boot else COMES_BACK
        if now - self._since >= patience:
            return SILENT if seen.boot else FREE
        raise HolderWatched(seen.holder, patience)

    def _is_given_up(self, seen: Seen) -> bool:
        """Whether nobody owns the id, and nobody can have lost it in an outage that we know of."""
        was_owned = self._first is not None and self._first.boot
        return not seen.boot and bool(was_owned or not self._outage)

    def restart(self) -> None:
        """Redis could not be asked: perhaps the owner could not tell it anything either."""
        self._first, self._outage = None, True
