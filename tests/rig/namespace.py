"""A network of its own for devices, at the far end of a cable that can be pulled out."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.rig.tracker import Address

CLONE_NEWNET = 0x40000000
BLOCKS = 1 << 15
"""Networks of four addresses in 198.18.0.0/15, which is set apart for tests of networks (RFC 2544)."""


class NotPossible(Exception):
    """This machine, or this user of it, has no network namespaces."""


class Namespace:
    """The far end.

    Attributes:
        host: address of the near end, where a gateway on this machine is reached.
        far: address of the far end.
    """

    def __init__(self, holder: int) -> None:
        self._holder = holder
        self._near, self._far = f"tg{os.getpid()}n", f"tg{os.getpid()}f"
        block = 4 * (os.getpid() % BLOCKS)
        network = (198 << 24) + (18 << 16) + block
        self.host, self.far = (socket.inet_ntoa((network + end).to_bytes(4, "big")) for end in (1, 2))
        self._ip(f"link add {self._near} type veth peer name {self._far} netns {holder}")
        self._ip(f"addr add {self.host}/30 dev {self._near}")
        self._ip(f"link set {self._near} up")
        self._ip(f"addr add {self.far}/30 dev {self._far}", inside=True)
        self._ip(f"link set {self._far} up", inside=True)
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def _ip(self, words: str, *, inside: bool = False) -> None:
        enter = ["nsenter", f"--net=/proc/{self._holder}/ns/net"] if inside else []
        done = subprocess.run([*enter, "ip", *words.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotPossible(f"ip {words}: {done.stderr.strip()}")

    def _enter(self) -> None:
        """Sockets belong to the network of the thread that makes them."""
        with Path(f"/proc/{self._holder}/ns/net").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    async def dial(self, address: Address) -> socket.socket:
        """A connection from the far end."""
        return await asyncio.get_running_loop().run_in_executor(self._inside, _connect, address)

    def cut(self) -> None:
        """Pull the cable out: neither FIN nor RST will come through, and nothing is refused."""
        self._ip(f"link set {self._far} down", inside=True)

    def mend(self) -> None:
        """Plug the cable in again."""
        self._ip(f"link set {self._far} up", inside=True)

    def listen(self) -> socket.socket:
        """A listening socket at the far end."""
        return self._inside.submit(socket.create_server, (self.far, 0)).result()

    def close(self) -> None:
        """Take everything down."""
        self._inside.shutdown()
        self._ip(f"link del {self._near}")  # at once; with its namespace it would go some time later


def _connect(address: Address) -> socket.socket:
    connected = socket.create_connection(address, 5.0)
    connected.setblocking(False)
    return connected


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A network that goes with the block, or with the process if that comes first.

    Raises:
        NotPossible: the machine lacks what it takes, or does not let us.
    """
    if not all(shutil.which(tool) for tool in ("ip", "nsenter", "unshare")):
        raise NotPossible("ip, nsenter and unshare are needed")
    with ExitStack() as stack:
        # Its only process ends when its input does, and with it the namespace and both ends of the cable.
        holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        stack.callback(holder.communicate)
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            holder.stdin.write(b"\n")
            holder.stdin.flush()
        except BrokenPipeError:
            pass
        if not holder.stdout.readline():
            raise NotPossible("unshare is not allowed")
        found = Namespace(holder.pid)
        stack.callback(found.close)
        yield found
