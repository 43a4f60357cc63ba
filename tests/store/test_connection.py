"""Lost connections, on real sockets: a peer that answers PONG until it is told to do something else."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from store.client.errors import CallFailed, Outcome
from store.client.script import KeptConnection, Script

uvloop = pytest.importorskip("uvloop")

PONG = b"+PONG\r\n"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Peer:
    """A server of one word, in threads of its own. A test ends its connections as a network would."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []
        self.reply = PONG
        self.disconnect = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.accepted.append(self.listener.accept()[0])
                threading.Thread(target=self._serve, args=(self.accepted[-1],), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while data := sock.recv(65536):
                names = data.count(b"CLIENT\r\n")  # SETINFO and SETNAME of the handshake
                if self.disconnect and not names:
                    self.reset(sock)
                else:
                    sock.sendall(b"+OK\r\n" * names or self.reply)

    def reset(self, sock: socket.socket) -> None:
        """End a connection with RST, as a NAT that has forgotten it does."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads, which holds the descriptor open
        sock.close()

    def close(self) -> None:
        for sock in (self.listener, *self.accepted):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.mark.parametrize("url", ["redis://here", "rediss://here", "unix:///here"])
def test_a_connection_is_made_without_a_look_at_installed_packages(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    monkeypatch.setattr("importlib.metadata.version", looks.append)
    connect(url, purpose="test")
    assert looks == []


def on(loop: str, work: Callable[[Peer, Redis], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a peer and a client of it, on this event loop."""

    async def main() -> None:
        client = connect(f"redis://127.0.0.1:{peer.listener.getsockname()[1]}", purpose="test")
        try:
            async with asyncio.timeout(10.0):
                await work(peer, client)
        finally:
            await client.aclose()

    with closing(Peer()) as peer, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until `condition` holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def both(test: Any) -> Any:
    return pytest.mark.parametrize("loop", LOOPS)(test)


@both
def test_a_connection_that_was_reset_while_idle_is_replaced(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        assert await client.ping()
        (connection,) = client.connection_pool._available_connections
        peer.reset(peer.accepted[0])
        await until(connection.unusable)
        assert await client.ping()
        assert len(peer.accepted) == 2

    on(loop, work)


@both
def test_a_kept_connection_that_was_reset_is_replaced(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        kept = KeptConnection(client)
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        connection: Any = kept._connection
        peer.reset(peer.accepted[0])
        await until(connection.unusable)
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        await kept.release()

    on(loop, work)


@both
def test_unread_bytes_are_not_taken_for_the_reply_to_a_later_call(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        kept = KeptConnection(client)
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        connection: Any = kept._connection
        peer.accepted[0].sendall(b"+garbage\r\n")
        await until(lambda: bool(connection._reader._buffer))
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        await kept.release()

    on(loop, work)


@both
def test_a_reply_that_does_not_come_ends_the_connection(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        kept = KeptConnection(client)
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        connection: Any = kept._connection
        connection.socket_timeout, peer.reply = 0.01, b""
        with pytest.raises(CallFailed, match="does not answer") as failed:
            await kept.call(Script("moves.lua"), [], [])
        assert (failed.value.outcome, connection.is_connected) == (Outcome.UNKNOWN, False)
        connection.socket_timeout, peer.reply = 1.0, PONG
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        await kept.release()

    on(loop, work)


@both
def test_the_reply_to_a_call_that_was_given_up_is_not_that_of_the_next(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        kept = KeptConnection(client)
        assert await kept.call(Script("moves.lua"), [], []) == b"PONG"
        connection: Any = kept._connection
        peer.reply = b""
        call = asyncio.ensure_future(kept.call(Script("moves.lua"), [], []))
        await until(lambda: connection._limit._reader is not None)
        call.cancel()
        await asyncio.wait({call})
        assert not connection.is_connected
        await kept.release()

    on(loop, work)


@both
def test_a_connection_is_not_given_back_while_it_owes_a_reply(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        assert await client.ping()
        kept, peer.reply = KeptConnection(client), b""
        await kept.post("PING")
        await kept.release()
        peer.reply = PONG
        assert await client.ping()
        assert len(peer.accepted) == 2

    on(loop, work)


@both
def test_a_reset_leaves_the_outcome_unknown_for_one_call_only(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        assert await client.ping()
        peer.disconnect = True
        with pytest.raises(CallFailed) as caught:
            await client.ping()
        assert caught.value.outcome is Outcome.UNKNOWN
        peer.disconnect = False
        assert await client.ping()

    on(loop, work)


@both
def test_a_reply_that_is_none_ends_its_connection(loop: str) -> None:
    async def work(peer: Peer, client: Any) -> None:
        assert await client.ping()
        peer.reply = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        with pytest.raises(CallFailed) as caught:
            await client.ping()
        assert caught.value.outcome is Outcome.UNKNOWN
        peer.reply = PONG
        assert await client.ping()
        assert len(peer.accepted) == 2

    on(loop, work)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nobody.invalid:6379"])
@both
def test_a_call_without_a_connection_was_never_sent(loop: str, host: str) -> None:
    async def work(peer: Peer, _: Redis) -> None:
        away = connect(f"redis://{host}", purpose="test")
        with pytest.raises(CallFailed) as caught:
            await away.ping()
        assert caught.value.outcome is Outcome.NOT_SENT
        await away.aclose()

    on(loop, work)
