"""Who owns an instance id, and when a starting process may take it.

Two processes with one instance id would take devices and commands from each other, so a starting process must
not displace a live one. In Redis it finds the boot id of the owner, the last heartbeat of the owner, and the
owner's description of itself (`Holder`). The rule, in `Watch.decide`:

    this process itself owns the id                               take it
    there is no owner, and all our calls to Redis succeeded       take it
    --take-over was given                                         take it
    there is no owner, and none has appeared for a margin         take it
    the owner is proved dead (see `transport.daemon.presence`)    take it
    its heartbeat has changed since we first read it              it is alive: raise `InstanceHeld`
    its heartbeat has not changed for its interval and a margin   take it
    otherwise                                                     read again: raise `HolderWatched`

Only a change of the heartbeat counts, not its value, so no clock has to be right. The time without a change
counts only as long as Redis answers, because an owner that cannot reach Redis cannot renew its heartbeat. If
an outage was longer than the time to live of the ownership, or Redis lost its data, the owner returns at the
same time as this process, which therefore waits for it. The take-over is one script that compares what was
read last: a heartbeat in between makes it fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from fsm.errors import GatewayFault
from store.client.errors import NotOwnerYet
from store.client.numbers import whole
from store.fleet.exposure import UNEXPOSED, Exposure

MARGIN = 2.0
"""Seconds after its interval at which a heartbeat counts as missed: the time of a call and of a busy loop."""
COMES_BACK = 1.0 + MARGIN
"""Seconds in which a live owner has renewed its heartbeat after an outage: it tries once a second."""
LONGEST_INTERVAL = 3600.0
FREE, GONE, SILENT, FORCED = "free", "gone", "silent", "forced"
"""Why an instance id may be taken."""


@dataclass(slots=True, frozen=True)
class Holder:
    """The process that owns an instance id, as it describes itself.

    Attributes:
        boot_id: of the process.
        host: name of its host, for people.
        pid: its process id on that host or in that container.
        place: where its presence can be checked; empty if nowhere.
        interval: seconds between its heartbeats.
        since_ms: when it took the id, epoch ms of Redis; 0 if unknown.
        exposure: what of it is open to others.
        shards: how many shards of telemetry it knows; all gateways of a fleet should know as many.
    """

    boot_id: str
    host: str = ""
    pid: int = 0
    place: str = ""
    interval: float = 0.0
    since_ms: int = 0
    exposure: Exposure = UNEXPOSED
    shards: int = 1

    def __str__(self) -> str:
        if not self.host:
            return "a process on an unknown host"
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat("T", "seconds")
        return f"process {self.pid} on host {self.host}, since {since.replace('+00:00', 'Z')}"

    def fields(self) -> list[str]:
        """Names and values for the hash in Redis; the script adds ``since``."""
        return [
            *("boot", self.boot_id, "host", self.host, "pid", str(self.pid)),
            *("place", self.place, "interval", str(self.interval), "shards", str(self.shards)),
            *self.exposure.fields(),
        ]

    @classmethod
    def read(cls, boot_id: str, found: Mapping[bytes, bytes]) -> Holder:
        """The description of `boot_id` from the hash in Redis, unless that is of another process."""
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
            Exposure.read(text),
            whole(text.get("shards", ""), 1),
        )


def _printable(value: bytes) -> str:
    """Text from Redis, made printable: any client may have written it."""
    return "".join(char if char.isprintable() else "?" for char in value.decode(errors="replace"))[:256]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0.0 <= number < float("inf") else 0.0


class InstanceHeld(GatewayFault):
    """A live process owns the instance id of this process."""

    def __init__(self, instance_id: str, holder: Holder) -> None:
        super().__init__(
            f"The instance id {instance_id!r} belongs to a live gateway: {holder}. Stop that gateway first, "
            "or give this one another --instance-id, or take the id with --take-over."
        )
        self.instance_id = instance_id
        self.holder = holder


class HolderWatched(NotOwnerYet):
    """Another process owns the instance id and may be alive; or there seems to be no owner, but that is
    uncertain.

    Attributes:
        holder: the owner; ``Holder("")`` for none.
        wait_s: seconds without a heartbeat after which the owner counts as dead.
    """

    def __init__(self, holder: Holder, wait_s: float) -> None:
        super().__init__(f"The instance id is held by {holder}." if holder.boot_id else "It may be held.")
        self.holder = holder
        self.wait_s = wait_s


class Seen(NamedTuple):
    """What was read: boot id and last heartbeat of the owner, both empty for none, and its description."""

    boot: bytes = b""
    heartbeat: bytes = b""
    holder: Holder = Holder("")


def _never_gone(_: Holder) -> bool:
    return False


class Watch:
    """Decides whether an instance id may be taken, from repeated readings.

    Args:
        instance_id: the id that this process wants.
        own: the description of this process.
        forced: take it from any owner.
        is_gone: whether it is proved that a process has ended.
        monotonic: seconds.
    """

    def __init__(
        self,
        instance_id: str,
        own: Callable[[], Holder],
        *,
        forced: bool = False,
        is_gone: Callable[[Holder], bool] = _never_gone,
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
        """The description of this process."""
        return self._own()

    def decide(self, seen: Seen) -> str:
        """Why the id may be taken from the owner that was seen.

        Raises:
            InstanceHeld: the owner is alive.
            HolderWatched: it is not known yet whether the owner is alive.
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
        wait_s = (seen.holder.interval or own.interval) + MARGIN if seen.boot else COMES_BACK
        if now - self._since >= wait_s:
            return SILENT if seen.boot else FREE
        raise HolderWatched(seen.holder, wait_s)

    def _is_given_up(self, seen: Seen) -> bool:
        """Whether the id has no owner, and no owner can have lost it in an outage that we know of."""
        was_owned = self._first is not None and self._first.boot
        return not seen.boot and bool(was_owned or not self._outage)

    def restart(self) -> None:
        """Redis could not be reached: perhaps the owner could not reach it either. Begin again."""
        self._first, self._outage = None, True
