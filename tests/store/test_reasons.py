"""Why Redis is not reached, said in words: each way on real sockets, on each event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from store.client.client import connect
from store.client.errors import CallFailed, NotLetIn, StoreError, StoreRefused, plainly
from store.client.reasons import reason
from transport.cli import cli

uvloop = pytest.importorskip("uvloop")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
SILENT, HTTP = b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"
RAW = ("Errno", "Error ", "Connect call", "[SSL", "_ssl.c", "('")
"""What no sentence for people has."""


class Server:
    """A server that says one thing to whoever connects and sends something, with TLS or without."""

    def __init__(self, says: bytes, context: ssl.SSLContext | None = None) -> None:
        self._says, self._context = says, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self.where = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._accepted.append(self._listener.accept()[0])
                threading.Thread(target=self._serve, args=(self._accepted[-1],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
            while sock.recv(65536):
                sock.sendall(self._says)

    def close(self) -> None:
        for sock in (self._listener, *self._accepted):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def said(loop: str, url: str) -> str:
    """What the error says of a call to the Redis at `url`."""

    async def call() -> str:
        client = connect(url, purpose="test")
        try:
            await client.ping()
        except StoreError as error:
            return str(error)
        finally:
            await client.aclose()
        raise AssertionError("It was reached.")

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(call())


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_socket_that_is_none(loop: str, tmp_path: Path) -> None:
    absent, file, dead = (tmp_path / name for name in ("absent", "file", "dead"))
    file.write_text("")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    assert said(loop, f"unix://{absent}") == f"there is no socket {absent}"
    assert said(loop, f"unix://{file}") == f"{file} is not a socket"
    assert said(loop, f"unix://{file}/x") == f"there is no socket {file}/x"
    assert said(loop, f"unix://{dead}") == f"nothing listens at {dead}"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_nothing_listens_at(loop: str, scheme: str, host: str) -> None:
    assert said(loop, f"{scheme}://{host}:1") == f"nothing listens at {host}:1"


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_a_server_that_others_name(loop: str, kind: str) -> None:
    url = f"redis+{kind}://127.0.0.1:1" + "/main" * (kind == "sentinel")
    prefix = "{f}:" if kind == "cluster" else ""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner, pytest.raises(CallFailed) as caught:
        runner.run(connect(url, purpose="test", key_prefix=prefix).get("x"))
    assert str(caught.value) == ("No server names the address of Redis: nothing listens at 127.0.0.1:1")


def test_a_name_that_is_unknown(loop: str) -> None:
    assert said(loop, "redis://nowhere.invalid:6379") in (
        "no host is known as nowhere.invalid",
        "the name nowhere.invalid cannot be looked up now",  # where no resolver can be asked
    )


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_server_that_does_not_answer(loop: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.client.client.TIMEOUT", 0.2)
    with closing(Server(SILENT)) as server:
        assert said(loop, f"{scheme}://{server.where}") == f"{server.where} does not answer"


def test_a_server_that_is_not_redis(loop: str) -> None:
    with closing(Server(HTTP)) as server:
        assert said(loop, f"redis://{server.where}") == f"what answers at {server.where} is not Redis"


def test_a_server_without_tls(loop: str) -> None:
    with closing(Server(HTTP)) as server:
        assert said(loop, f"rediss://{server.where}") == f"{server.where} does not speak TLS"


def test_a_server_with_the_certificate_of_a_stranger(loop: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with closing(Server(SILENT, context)) as server:
        text = said(loop, f"rediss://{server.where}")
    assert text.startswith(f"the certificate of {server.where} is not accepted: ")
    assert not [raw for raw in RAW if raw in text]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "this user may not connect to it"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "there is no way to it in the network"),
        (OSError(errno.EMFILE, "Too many open files"), "this process has no file descriptor left for it"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "it has closed the connection"),
        (TimeoutError(), "it does not answer"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), "nothing listens at it"),
        (OSError(errno.EIO, "x"), "it cannot be reached: Input/output error"),
        (OSError("no number"), "it cannot be reached: no number"),
        (RuntimeError("closed"), "it cannot be reached: closed"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "the name it cannot be looked up now"),
    ],
)
def test_other_errors_of_the_system(error: Exception, text: str) -> None:
    assert reason(error, "it") == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            NotLetIn("WRONGPASS invalid username-password pair"),
            "it refuses the user or the password of the URL",
        ),
        (NotLetIn("NOAUTH Authentication required."), "it asks for a password, and the URL has none"),
        (NotLetIn("ERR DB index is out of range"), "it has no database of the number in the URL"),
        (
            StoreRefused("NOPERM no permissions to run 'time'"),
            "its user lacks a right (no permissions to run 'time')",
        ),
        (CallFailed("nothing listens at x"), "nothing listens at x"),
    ],
)
def test_a_refusal_is_said_plainly(error: StoreError, text: str) -> None:
    assert plainly(error) == text


@pytest.mark.parametrize("verb", [("devices",), ("commands",), ("check",), ("watch", "--no-follow")])
def test_a_verb_says_it_in_one_sentence(verb: tuple[str, ...]) -> None:
    with closing(Server(b"-WRONGPASS invalid username-password pair\r\n")) as server:
        result = CliRunner().invoke(cli, [*verb, "--redis", f"redis://telgw:wrong@{server.where}"])
    assert (result.exit_code, result.stderr) == (
        2,
        "telgw: Redis cannot be used: it refuses the user or the password of the URL\n",
    )
