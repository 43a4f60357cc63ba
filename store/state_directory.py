"""The directory of the embedded server: who may reach what lies in it.

The server has no password of its own, since whoever may enter its directory may read its data anyway. So
the directory is the lock: it belongs to us, nobody else may enter it, and what is in it was put there by
us. A directory that is open to others is narrowed if it is ours alone, and refused otherwise. A client
looks at the owner of the directory, of the socket, and of the process behind it, before it says a word.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from fsm.errors import GatewayFault
from store.client.url import LONGEST_SOCKET_PATH

SOCKET = "server.sock"
HOST = "127.0.0.1"
ELSEWHERE = "or name a server with --redis URL."
CONNECT_TIMEOUT = 1.0

_OTHERS = 0o077
_OTHERS_WRITE = 0o022


class EmbeddedUnavailable(GatewayFault):
    """The embedded server cannot be used here; the sentence says what to do instead."""


def default_directory() -> Path:
    """Where the data of the embedded server lives unless told otherwise.

    Raises:
        EmbeddedUnavailable: nobody says where the user's files are.
    """
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "telgw"
    try:
        return Path.home() / ".local" / "state" / "telgw"
    except RuntimeError:
        raise EmbeddedUnavailable(
            f"This user has no home directory for the embedded server: say --state-dir DIR, {ELSEWHERE}"
        ) from None


class StateDirectory:
    """A directory in which an embedded server lives, or would.

    Attributes:
        path: absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def claim(self) -> None:
        """Make it, or see to it that nobody else can reach into it.

        Raises:
            EmbeddedUnavailable: it is not ours, or holds what others put there.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
            if found.st_uid != os.geteuid():
                raise EmbeddedUnavailable(
                    f"{self.path} belongs to another user: say --state-dir DIR, {ELSEWHERE}"
                )
            if found.st_mode & _OTHERS:
                self._narrow()
        except OSError as error:
            raise EmbeddedUnavailable(
                f"{self.path} cannot be used ({error.strerror}): say --state-dir DIR, {ELSEWHERE}"
            ) from None

    def _narrow(self) -> None:
        """A directory that holds something else, such as a home, is not ours to close to others."""
        if any(self.path.iterdir()) and not (self.path / "lock").exists():
            raise EmbeddedUnavailable(
                f"Others may enter {self.path}, and it holds other files: say --state-dir DIR for one "
                "that the embedded server has to itself."
            )
        for file in self._files():
            if file.lstat().st_uid != os.geteuid():
                raise EmbeddedUnavailable(
                    f"Others may enter {self.path}, and {file} is of another user: look at it and take it "
                    "out, or say --state-dir DIR."
                )
        self.path.chmod(0o700)
        for file in self._files():
            if file.is_file():
                file.chmod(0o600)

    def _files(self) -> Iterator[Path]:
        for folder in (self.path, self.path / "appendonlydir"):
            yield from folder.iterdir() if folder.is_dir() else ()

    def url(self) -> str:
        """Where its server listens, or would, for `store.client.client.connect`. It may hold a password.

        Raises:
            EmbeddedUnavailable: what is there may not be ours.
        """
        self.check()
        password = self.read("password") if self.number("port") else ""
        login = f":{quote(password, safe='')}@" if password else ""
        return f"unix://{login}{quote(self.address())}"

    def check(self) -> None:
        """See to it that whoever listens here is the owner of the directory, and that is ourselves.

        Root may speak to the server of another user.

        Raises:
            EmbeddedUnavailable: another user may have put a server of his own there.
        """
        try:
            found = self.path.stat()
        except OSError:
            return  # nothing is there: the attempt to connect says so
        if found.st_uid != os.geteuid() and os.geteuid():
            raise EmbeddedUnavailable(f"{self.path} belongs to another user: his server is not spoken to.")
        if found.st_mode & _OTHERS_WRITE:
            raise EmbeddedUnavailable(f"Others may write into {self.path}: its server is not spoken to.")
        for owner in (self._owner_of_socket, self._owner_of_process):
            if owner() not in (None, found.st_uid):
                raise EmbeddedUnavailable(
                    f"{self.path / SOCKET} belongs to another user: it is not spoken to."
                )

    def _owner_of_socket(self) -> int | None:
        try:
            found = (self.path / SOCKET).lstat()
        except OSError:
            return None
        return found.st_uid if stat.S_ISSOCK(found.st_mode) else -1

    def _owner_of_process(self) -> int | None:
        return self.peer()[1]

    def peer(self) -> tuple[int | None, int | None]:
        """Process id and user id of whoever listens on the socket, as the kernel says; None: not known."""
        if not hasattr(socket, "SO_PEERCRED"):
            return None, None
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_TIMEOUT)
            try:
                probe.connect(self.address())
                told = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            except OSError:
                return None, None
        pid, uid, _ = struct.unpack("3i", told)
        return pid, uid

    def address(self) -> str:
        """The path of the socket, short enough for the kernel.

        Raises:
            EmbeddedUnavailable: there is no short one.
        """
        path = str(self.path / SOCKET)
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH or not self.path.is_dir():
            return path
        if sys.platform != "linux":
            raise EmbeddedUnavailable(f"The path {self.path} is too long for a socket: say --state-dir DIR.")
        return f"/proc/self/fd/{_entrance(self.path)}/{SOCKET}"

    def password(self) -> str:
        """The password of the server, made when there is none. It lives as long as the directory."""
        if not self.read("password"):
            self.write("password", secrets.token_urlsafe(32))
        return self.read("password")

    def number(self, name: str) -> int:
        """The number in a file of the directory; 0 when there is none (yet)."""
        try:
            return int(self.read(name))
        except ValueError:
            return 0

    def read(self, name: str) -> str:
        """The text of a file; empty when there is none."""
        try:
            return (self.path / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, name: str, text: str) -> None:
        """Write a file that only we may read.

        Raises:
            OSError: it cannot be written.
        """
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"{text}\n")


@lru_cache
def _entrance(path: Path) -> int:
    """A descriptor of the directory, kept for as long as we live: clients connect through it."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY)
