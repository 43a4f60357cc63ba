"""The presence of a process on its host: how another process finds out that it has ended.

A gateway binds a socket in the abstract namespace of Linux, named after its boot id, and keeps it until it
ends. The kernel removes the name when the process ends, for whatever reason; a frozen process keeps it. If
the name does not exist *in the same place*, another process may conclude that the gateway has ended.

A place is a boot of a kernel (``/proc/sys/kernel/random/boot_id``) and a network namespace (its inode
number), because these names belong to a network namespace. The kernel reuses the number of a namespace only
after the last process of it has ended. So if two places are equal, they are the same place, or the gateway
has ended. If the places differ, or a place cannot be read, nothing is concluded.

Process ids do not work for this: they are reused, every container has a process 1, and processes of other
users may be hidden. Machines that were resumed from the same snapshot of memory count as one place: they need
different instance ids.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from store.fleet.exposure import Exposure
from store.fleet.ownership import Holder

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = "/proc/self/ns/net"


class Presence:
    """Shows that this process is alive, from `open` to `close`.

    Args:
        exposure: what of this process is open to others, asked at each heartbeat.
        shards: how many shards of telemetry it knows.
    """

    def __init__(self, boot_id: str, exposure: Callable[[], Exposure] = Exposure, shards: int = 1) -> None:
        self._boot_id = boot_id
        self._shards = shards
        self._exposure = exposure
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Bind the name. If the system cannot do it, the process shows no presence."""
        if not place():
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(_name(self._boot_id))
        except OSError:
            sock.close()
        else:
            self._socket = sock

    def close(self) -> None:
        """Release the name."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def describe(self, interval: float) -> Holder:
        """A description of this process; `interval` is the time between its heartbeats in seconds."""
        where = place() if self._socket is not None else ""
        host, exposure = socket.gethostname(), self._exposure()
        return Holder(
            self._boot_id, host, os.getpid(), where, interval, exposure=exposure, shards=self._shards
        )


def place() -> str:
    """The place of this process; empty if the system has no such places."""
    try:
        boot, namespace = BOOT.read_text(encoding="ascii").strip(), os.stat(NAMESPACE)
    except (OSError, ValueError):
        return ""
    return f"{boot}/{namespace.st_ino}" if boot else ""


def is_gone(holder: Holder) -> bool:
    """Whether it is proved that the process has ended."""
    if not holder.place or holder.place != place():
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex(_name(holder.boot_id)) == errno.ECONNREFUSED
    except (OSError, ValueError):
        return False


def _name(boot_id: str) -> str:
    return f"\0telgw:{boot_id}"
