"""Looks up the name of a server, without waiting for a resolver that does not answer.

A look-up is a call of the C library, which can take long and cannot be stopped. Three rules limit the damage:

* There is one look-up of a name at a time; all callers share it. * Each look-up has its own daemon thread: it
does not occupy a thread pool, and the end of the process does not
  wait for it.
* As long as a look-up is late or fails, the addresses of the last successful one are used. So the loss of a
  resolver does not mean the loss of a server whose address has not changed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

LOOKUP_TIMEOUT = 0.5
"""Seconds that a caller waits for a look-up if an earlier one has succeeded."""


class Resolver:
    """Finds and remembers the addresses of hosts."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def find(self, host: str) -> list[str]:
        """The addresses of `host` in the order of the resolver. If none is known yet, wait for the look-up.

        Raises:
            OSError: no address of the host is known.
        """
        if _is_address(host):
            return [host]
        known = self._known.get(host)
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT if known else None):
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
    """Runs in a thread: look `host` up and pass the result to the loop, unless the loop is closed."""
    found: list[str] | OSError
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    except (OSError, UnicodeError) as error:
        found = error if isinstance(error, OSError) else OSError(f"{host!r} is not a host name.")
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_tell, asked, found)


def _tell(asked: asyncio.Future[list[str]], found: list[str] | OSError) -> None:
    if asked.done():
        return
    if isinstance(found, OSError):
        asked.set_exception(found)
    else:
        asked.set_result(found)
