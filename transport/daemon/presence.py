"""The presence of a process on its host: how another process finds out that it has ended.

A gateway binds a socket of the abstract namespace of Linux, named after its boot id, and holds it until
it ends. The kernel removes the name with the process, whatever ended it; a process that is stopped keeps
it. Another process may conclude that the gateway has ended when there is no such name *in the same
place*.

A place is a boot of a kernel (``/proc/sys/kernel/random/boot_id``) and a network namespace in it (its
inode number), because these names belong to a network namespace. The number of a namespace is given to
another one only when nobody is left in the first, so equal places are one place, or the gateway has
ended. Where the place is another one, or cannot be read, nothing is concluded.

Process numbers could not tell this: they are used again, every container has a process 1, and the
processes of other users may be hidden. Machines that were resumed from one snapshot of memory are one
place by this rule: they need different instance ids.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from store.fleet.ownership import Holder

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = "/proc/self/ns/net"


class Presence:
    """Shows that this process lives, from `open` to `close`."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin; where that is not possible nothing is shown."""
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
        """End."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def describe(self, interval: float) -> Holder:
        """This process, whose heartbeats come every `interval` seconds."""
        where = place() if self._socket is not None else ""
        return Holder(self._boot_id, socket.gethostname(), os.getpid(), where, interval)


def place() -> str:
    """Where this process is; empty where there are no such places."""
    try:
        boot, namespace = BOOT.read_text(encoding="ascii").strip(), os.stat(NAMESPACE)
    except (OSError, ValueError):
        return ""
    return f"{boot}/{namespace.st_ino}" if boot else ""


def is_gone(holder: Holder) -> bool:
    """Whether the process has ended, as far as that can be proved from here."""
    if not holder.place or holder.place != place():
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex(_name(holder.boot_id)) == errno.ECONNREFUSED
    except (OSError, ValueError):
        return False


def _name(boot_id: str) -> str:
    return f"\0telgw:{boot_id}"
