"""Pages over HTTP: what is answered, and what a peer cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus

import pytest

from tests.rig.waiting import until
from transport.daemon import http_pages
from transport.daemon.http_pages import HEAD_LIMIT, OPEN_AT_ONCE, Page, PageServer

BODY = b"a 1\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = PageServer({"/metrics": lambda: Page(HTTPStatus.OK, BODY)})
    await server.start("127.0.0.1", 0)
    yield server.port
    server.stop()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of a peer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whatever way."""
    with suppress(ConnectionResetError):
        return await reader.read()
    return b""


async def exchange(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request in pieces; the status, the headers and the body of the answer."""
    async with connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "pieces",
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",),
        (b"GET /metr", b"ics?name=x HTTP/1.0\r", b"\n\r\n"),
        (b"GET /metrics HTTP/1.1\n\n",),
    ],
)
async def test_a_page_is_served_whole(port: int, pieces: tuple[bytes, ...]) -> None:
    status, headers, body = await exchange(port, *pieces)
    assert (status, body) == (200, BODY)
    assert (headers["Content-Length"], headers["Connection"]) == (str(len(BODY)), "close")


async def test_head_has_no_body(port: int) -> None:
    status, headers, body = await exchange(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 405),
        (b"\x00\x0f123456789012345\r\n\r\n", 400),
        (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2\r\n\r\n", 400),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_LIMIT + b"\r\n\r\n", 431),
    ],
)
async def test_another_request_gets_an_error(port: int, request_: bytes, status: int) -> None:
    assert (await exchange(port, request_))[0] == status


async def test_a_silent_peer_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pages, "TIMEOUT", 0.01)
    async with connected(port) as (reader, writer):
        writer.write(b"GET /metrics")
        assert await everything(reader) == b""


async def test_of_many_silent_connections_the_oldest_gives_way(port: int) -> None:
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(port)) for _ in range(OPEN_AT_ONCE)]
        assert (await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == 200
        assert await everything(silent[0][0]) == b""
        silent[1][1].write(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert BODY in await everything(silent[1][0])


async def test_who_waits_for_an_answer_keeps_its_place() -> None:
    ready = asyncio.Event()
    asked = 0

    async def later() -> Page:
        nonlocal asked
        asked += 1
        await ready.wait()
        return Page(HTTPStatus.OK, BODY)

    server = PageServer({"/metrics": later})
    await server.start("127.0.0.1", 0)
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(connected(server.port)) for _ in range(OPEN_AT_ONCE)]
        for _, writer in waiting:
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        await until(lambda: asked == OPEN_AT_ONCE, "all have asked")
        further, _ = await stack.enter_async_context(connected(server.port))
        assert await everything(further) == b""
        ready.set()
        assert all([BODY in await everything(reader) for reader, _ in waiting])
    server.stop()


async def test_a_stopped_server_closes_its_connections() -> None:
    server = PageServer({})
    await server.start("127.0.0.1", 0)
    async with connected(server.port) as (reader, writer):
        writer.write(b"GET ")
        await asyncio.sleep(0.01)
        server.stop()
        assert await everything(reader) == b""


async def test_a_page_may_take_its_time() -> None:
    ready = asyncio.Event()

    async def later() -> Page:
        await ready.wait()
        return Page(HTTPStatus.OK, BODY)

    server = PageServer({"/later": later})
    await server.start("127.0.0.1", 0)
    async with connected(server.port) as (reader, writer):
        writer.write(b"GET /later HTTP/1.1\r\n\r\n")
        await writer.drain()
        ready.set()
        assert (await everything(reader)).endswith(BODY)
    server.stop()
