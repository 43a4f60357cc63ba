"""A few pages over HTTP, served from the event loop: GET and HEAD, one request for each connection.

A peer is not trusted. A request has `TIMEOUT` seconds and `HEAD_LIMIT` bytes, and there are at most
`OPEN_AT_ONCE` connections: a further one takes the place of the oldest that has not asked for anything. A
peer that does not read its answer is cut off by the same time-out. So nobody can take a thread, a descriptor
or memory for long, and silent peers keep nobody out.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, cast

from fsm.errors import GatewayFault
from transport.settings import Address, as_text

TIMEOUT = 10.0
"""Seconds from the connection to its end."""
HEAD_LIMIT = 8192
"""Bytes of a request line and its headers."""
OPEN_AT_ONCE = 16
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The type of a page of metrics."""
NOT_LISTENING = "Devices cannot connect yet."

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,2000}) HTTP/1\.[01]\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


class CannotServeMetrics(GatewayFault):
    """The address of the metrics cannot be bound."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"Cannot serve metrics on {as_text((host, port))}: {_reason(error)}."
            " Set --metrics to another address, or to off."
        )
        self.host = host
        self.port = port


def _reason(error: OSError) -> str:
    """Why an address cannot be bound, without what asyncio adds."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


class Page(NamedTuple):
    """An answer: its status, its text, and the type of the text."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page | Awaitable[Page]]]
"""What makes each page, by its path."""


class PageServer:
    """The listener.

    Args:
        pages: a page is made for each request; it must not block.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._open: dict[_Request, None] = {}  # the oldest first
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            CannotServeMetrics: the address is in use, or is not an address of this host.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Request(self._open, self._pages), host, port)
        except OSError as error:
            raise CannotServeMetrics(host, port, error) from error

    async def start_unix(self, path: Path) -> None:
        """Listen on a Unix socket.

        Raises:
            OSError: the path cannot be used.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Request(self._open, self._pages), path)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._bound[1]

    @property
    def address(self) -> str:
        """The address that it listens on, as ``HOST:PORT``."""
        return as_text(self._bound)

    @property
    def _bound(self) -> Address:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, int(port)

    def stop(self) -> None:
        """Listen no more, and close what is open."""
        if self._server is not None:
            self._server.close()
        for request in list(self._open):
            request.abort()


class _Request(asyncio.Protocol):
    """One connection."""

    def __init__(self, opened: dict[_Request, None], pages: Pages) -> None:
        self._opened = opened
        self._pages = pages
        self._head = b""
        self._answered = False
        self._making: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(TIMEOUT, self.abort)
        if len(self._opened) >= OPEN_AT_ONCE:
            self._make_room()
        if len(self._opened) < OPEN_AT_ONCE:
            self._opened[self] = None
        else:
            self.abort()

    def _make_room(self) -> None:
        idle = next((other for other in self._opened if not other._answered), None)
        if idle is not None:
            del self._opened[idle]
            idle.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._making:
            self._making.cancel()
        self._opened.pop(self, None)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return  # the body of a request, or a second one
        self._head += data
        if len(self._head) > HEAD_LIMIT:
            self._answer(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        elif _END.search(self._head):
            self._answer_head()

    def _answer_head(self) -> None:
        request = _REQUEST.match(self._head)
        if request is None:
            self._answer(_plain(HTTPStatus.BAD_REQUEST))
            return
        method, target = request[1].decode(), request[2].decode()
        if method not in ("GET", "HEAD"):
            self._answer(_plain(HTTPStatus.METHOD_NOT_ALLOWED))
            return
        make = self._pages.get(target.partition("?")[0])
        page = make() if make else _plain(HTTPStatus.NOT_FOUND)
        if isinstance(page, Page):
            self._answer(page, with_body=method == "GET")
        else:
            self._answered = True
            self._making = asyncio.create_task(self._answer_later(page, method == "GET"), name="page")

    async def _answer_later(self, page: Awaitable[Page], with_body: bool) -> None:
        self._answer(await page, with_body=with_body)

    def _answer(self, page: Page, *, with_body: bool = True) -> None:
        self._answered = True
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join((*lines, "", "")).encode("ascii")
        self._transport.write(head + page.body * with_body)
        self._transport.close()


def _plain(status: HTTPStatus) -> Page:
    return Page(status, f"{status.value} {status.phrase}\n".encode("ascii"))
