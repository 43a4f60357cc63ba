"""Looking up the name of a server, so that nobody waits for a resolver that does not answer.

A look-up is a call of the C library, which takes as long as it likes and cannot be stopped. Three rules keep
that from doing harm:

* There is one look-up of a name at a time, and everybody who asks meanwhile waits for that one.
* Each has a thread of its own that is a daemon: it takes no place in a pool that others need, and the end of
  the process does not wait for it.
* While a look-up is late or fails, the addresses of the last one that succeeded count. A resolver that is
  away is then no reason to lose a server that is where it was.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

PATIENCE = 0.5
"""Seconds that a caller waits for a look-up when an earlier one has succeeded."""


class Resolver:
    """Finds the addresses of one host at a time, and remembers them."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def find(self, host: str) -> list[str]:
        """The addresses of `host`, in the order of the resolver; without a known one it waits for them.

        Raises:
            OSError: the host has no address that anybody knows.
        """
        if _is_address(host):
            return [host]
        known = self._known.get(host)
        try:
            async with asyncio.timeout(PATIENCE if known else None):
                return await asyncio.shield(self._ask(host))
        except (TimeoutError, OSError):
            if known is None:
                raise
            return known

    def _ask(self, host: str) -> asyncio.Future[list[str]]:
        """The look-up that is in progress, or a new one."""
        loop = asyncio.get_running_loop()
        asked = self._asked.get(host)
        if asked is None or asked.get_loop() is not loop:
            asked = self._asked[host] = loop.create_future()
            asked.add_done_callback(lambda done: self._answered(host, done))
            threading.Thread(target=_look_up, args=(host, loop, asked), name="resolver", daemon=True).start()
        return asked

    def _answered(self, host: str, asked: asyncio.Future[list[str]]) -> None:
        if self._asked.get(host) is asked:
            del self._asked[host]
        if not asked.cancelled() and asked.exception() is None:
            self._known[host] = asked.result()


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False


def _look_up(host: str, loop: asyncio.AbstractEventLoop, asked: asyncio.Future[list[str]]) -> None:
    """In a thread: look `host` up, and tell the loop, unless that is closed by now."""
    found: list[str] | OSError
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    except (OSError, UnicodeError) as error:
        found = error if isinstance(error, OSError) else OSError(f"{host!r} is no name of a host.")
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_tell, asked, found)


def _tell(asked: asyncio.Future[list[str]], found: list[str] | OSError) -> None:
    if asked.done():
        return
    if isinstance(found, OSError):
        asked.set_exception(found)
    else:
        asked.set_result(found)
