"""The operator's files for TLS to Redis, read each time a connection is made.

redis-py reads them once for each of its connection objects, and these live as long as the process. Reading
takes as long as the file system does, so it has a thread of its own; whoever waits gives up when the time
to connect is over. Connections that are made meanwhile share one reading: a file system that hangs holds
one thread, not one a try.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import ssl
import stat
import threading
from concurrent.futures import Future
from typing import Any

from redis.exceptions import ConnectionError

from store.client.url import BadRedisUrl

PATIENCE = 5.0
"""Seconds that a file may take at the start."""

_FILES = ("ca_certs", "ca_path", "certfile", "keyfile")

_readings: dict[tuple[Any, ...], Future[ssl.SSLContext]] = {}


async def read_context(wanted: Any) -> ssl.SSLContext:
    """The context that `wanted`, redis-py's description of one, comes to by what its files hold now.

    Raises:
        ConnectionError: the files cannot be used.
    """
    same = tuple(str(getattr(wanted, name)) for name in type(wanted).__slots__ if name != "context")
    reading = _readings.get(same)
    if reading is None or reading.done():
        reading = _readings[same] = Future()
        threading.Thread(target=_read, args=(wanted, reading), name="tls files", daemon=True).start()
    try:
        return await asyncio.shield(asyncio.wrap_future(reading))
    except (OSError, ValueError) as error:
        raise ConnectionError(_sentence(wanted, error)) from error


def try_files(wanted: Any) -> None:
    """Read them once, before there is a loop.

    Raises:
        BadRedisUrl: the files cannot be used, or do not come in `PATIENCE`.
    """
    reading: Future[ssl.SSLContext] = Future()
    threading.Thread(target=_read, args=(wanted, reading), name="tls files", daemon=True).start()
    try:
        reading.result(PATIENCE)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise BadRedisUrl(_sentence(wanted, error)) from None


def _sentence(wanted: Any, error: Exception) -> str:
    named, reason = ", ".join(_names(wanted)), getattr(error, "strerror", "") or type(error).__name__
    return f"The TLS files of the Redis URL are no use ({named}): {reason}."


def _names(wanted: Any) -> list[str]:
    return [name for name in (getattr(wanted, part, None) for part in _FILES) if name]


def _read(wanted: Any, reading: Future[ssl.SSLContext]) -> None:
    """In the thread. Neither a pipe nor a key whose passphrase nobody gave may make it wait for somebody."""
    try:
        for name in _names(wanted):
            mode = os.stat(name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(errno.EINVAL, f"{name} is not a file")
        fresh = copy.copy(wanted)
        fresh.context = None
        if hasattr(fresh, "password"):  # redis-py 7 has no passphrase
            fresh.password = fresh.password or ""
        reading.set_result(fresh.get())
    except Exception as error:
        reading.set_exception(error)
