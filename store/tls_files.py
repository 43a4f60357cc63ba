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
    except OSError as error:
        named, reason = ", ".join(_names(wanted)), error.strerror or type(error).__name__
        raise ConnectionError(f"The TLS files of the Redis URL are no use ({named}): {reason}.") from error


def _names(wanted: Any) -> list[str]:
    return [name for name in (getattr(wanted, part) for part in _FILES) if name]


def _read(wanted: Any, reading: Future[ssl.SSLContext]) -> None:
    """In the thread. Neither a pipe nor a key whose passphrase nobody gave may make it wait for somebody."""
    try:
        for name in _names(wanted):
            mode = os.stat(name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(errno.EINVAL, f"{name} is not a file")
        fresh = copy.copy(wanted)
        fresh.context, fresh.password = None, wanted.password or ""
        reading.set_result(fresh.get())
    except Exception as error:
        reading.set_exception(error)
