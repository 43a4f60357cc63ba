"""The files of the operator for TLS to Redis, which are read each time a connection is made.

redis-py would read them once for each connection object, which exists as long as the process. A read can
block in the file system, so it has its own thread, and the caller gives up after the time to connect.
Connections that are made at the same time share one read: a file system that blocks costs one thread, not one
per attempt.
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

READ_TIMEOUT = 5.0
"""Seconds that the files may take at the start."""

_FILES = ("ca_certs", "ca_path", "certfile", "keyfile")

_readings: dict[tuple[Any, ...], Future[ssl.SSLContext]] = {}


async def read_context(wanted: Any) -> ssl.SSLContext:
    """A context from `wanted`, the description of one by redis-py, and from the present content of its files.

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
    """Read them once, before there is an event loop.

    Raises:
        BadRedisUrl: the files cannot be used, or could not be read within `READ_TIMEOUT`.
    """
    reading: Future[ssl.SSLContext] = Future()
    threading.Thread(target=_read, args=(wanted, reading), name="tls files", daemon=True).start()
    try:
        reading.result(READ_TIMEOUT)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise BadRedisUrl(_sentence(wanted, error)) from None


def _sentence(wanted: Any, error: Exception) -> str:
    named, reason = ", ".join(_names(wanted)), getattr(error, "strerror", "") or type(error).__name__
    return f"The TLS files of the Redis URL cannot be used ({named}): {reason}."


def _names(wanted: Any) -> list[str]:
    return [name for name in (getattr(wanted, part, None) for part in _FILES) if name]


def _read(wanted: Any, reading: Future[ssl.SSLContext]) -> None:
    """Runs in the thread. A pipe, or a key that needs a passphrase, must not block it."""
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
