"""The directory of the embedded server, which protects the server from other users.

On its socket the server has no password: a user who can enter the directory can read its data anyway. So the
directory has to belong to this user, no other user may enter it, and this user must have created its files.
If other users may enter a directory, its mode is corrected if only we use it; otherwise it is refused. A
client checks the owners of the directory, of the socket and of the server process before it sends anything.
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
    """The embedded server cannot be used; the message says what to do instead."""


def default_directory() -> Path:
    """The default directory of the embedded server.

    Raises:
        EmbeddedUnavailable: the user has no home directory.
    """
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "telgw"
    try:
        return Path.home() / ".local" / "state" / "telgw"
    except RuntimeError:
        raise EmbeddedUnavailable(
            f"This user has no home directory for the embedded server: use --state-dir DIR, {ELSEWHERE}"
        ) from None


class StateDirectory:
    """The directory of an embedded server, running or not.

    Attributes:
        path: absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def claim(self) -> None:
        """Create it, or make sure that no other user can enter it.

        Raises:
            EmbeddedUnavailable: it belongs to another user, or holds files of others.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
            if found.st_uid != os.geteuid():
                raise EmbeddedUnavailable(
                    f"{self.path} belongs to another user: use --state-dir DIR, {ELSEWHERE}"
                )
            if found.st_mode & _OTHERS:
                self._narrow()
        except OSError as error:
            raise EmbeddedUnavailable(
                f"{self.path} cannot be used ({error.strerror}): use --state-dir DIR, {ELSEWHERE}"
            ) from None

    def _narrow(self) -> None:
        """Correct the mode, unless the directory holds something else, for example if it is a home."""
        if any(self.path.iterdir()) and not (self.path / "lock").exists():
            raise EmbeddedUnavailable(
                f"Other users may enter {self.path}, and it holds other files: use --state-dir DIR with a "
                "directory only for the embedded server."
            )
        for file in self._files():
            if file.lstat().st_uid != os.geteuid():
                raise EmbeddedUnavailable(
                    f"Other users may enter {self.path}, and {file} belongs to another user: check and "
                    "remove it, or use --state-dir DIR."
                )
        self.path.chmod(0o700)
        for file in self._files():
            if file.is_file():
                file.chmod(0o600)

    def _files(self) -> Iterator[Path]:
        for folder in (self.path, self.path / "appendonlydir"):
            yield from folder.iterdir() if folder.is_dir() else ()

    def url(self) -> str:
        """The URL of its server for `store.client.client.connect`. It may hold a password.

        Raises:
            EmbeddedUnavailable: the server may belong to another user.
        """
        self.check()
        password = self.read("password") if self.number("port") else ""
        login = f":{quote(password, safe='')}@" if password else ""
        return f"unix://{login}{quote(self.address())}"

    def check(self) -> None:
        """Check that the listening process belongs to the owner of the directory, and that this is our user.

        Root may use the server of another user.

        Raises:
            EmbeddedUnavailable: another user may have started a server there.
        """
        try:
            found = self.path.stat()
        except OSError:
            return  # nothing is there: connecting will fail and say so
        if found.st_uid != os.geteuid() and os.geteuid():
            raise EmbeddedUnavailable(f"{self.path} belongs to another user: that server is not used.")
        if found.st_mode & _OTHERS_WRITE:
            raise EmbeddedUnavailable(f"Other users may write into {self.path}: its server is not used.")
        for owner in (self._owner_of_socket, self._owner_of_process):
            if owner() not in (None, found.st_uid):
                raise EmbeddedUnavailable(f"{self.path / SOCKET} belongs to another user: it is not used.")

    def _owner_of_socket(self) -> int | None:
        try:
            found = (self.path / SOCKET).lstat()
        except OSError:
            return None
        return found.st_uid if stat.S_ISSOCK(found.st_mode) else -1

    def _owner_of_process(self) -> int | None:
        return self.peer()[1]

    def peer(self) -> tuple[int | None, int | None]:
        """Process id and user id of the listener of the socket, from the kernel; None if unknown."""
        if not hasattr(socket, "SO_PEERCRED"):
            return None, None
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_TIMEOUT)
            try:
                probe.connect(self.address())
                peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            except OSError:
                return None, None
        pid, uid, _ = struct.unpack("3i", peer)
        return pid, uid

    def address(self) -> str:
        """A path of the socket that is short enough for the kernel.

        Raises:
            EmbeddedUnavailable: there is no such path.
        """
        path = str(self.path / SOCKET)
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH or not self.path.is_dir():
            return path
        if sys.platform != "linux":
            raise EmbeddedUnavailable(f"The path {self.path} is too long for a socket: use --state-dir DIR.")
        return f"/proc/self/fd/{_entrance(self.path)}/{SOCKET}"

    def password(self) -> str:
        """The password of the server, created if there is none. It is kept as long as the directory."""
        if not self.read("password"):
            self.write("password", secrets.token_urlsafe(32))
        return self.read("password")

    def number(self, name: str) -> int:
        """The number in a file of the directory; 0 if there is none (yet)."""
        try:
            return int(self.read(name))
        except ValueError:
            return 0

    def read(self, name: str) -> str:
        """The text of a file; empty if there is none."""
        try:
            return (self.path / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, name: str, text: str) -> None:
        """Write a file that only this user may read.

        Raises:
            OSError: it cannot be written.
        """
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"{text}\n")


@lru_cache
def _entrance(path: Path) -> int:
    """A descriptor of the directory, open until the process ends: clients connect through it."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY)
