"""The process of one worker of ``telgw run --workers``. Its supervisor starts it; it is not a verb.

The settings come on standard input, because a command line is visible to all users of the host and the
settings may hold a password. The input stays open as long as the supervisor lives.
"""

from __future__ import annotations

import asyncio
import os
import sys

from fsm.errors import GatewayError
from transport.garbage import start_without_collections
from transport.settings import Settings

from .ending import complain, leave
from .serving import start

INPUT = 0
PROGRAM = (sys.executable, "-P", "-m", "transport.cli.worker")
"""The command line of a worker. ``-P``: modules in the working directory must not replace ours."""

CANNOT_START = 2


async def work(settings: Settings) -> int:
    """Run one gateway until a signal, or until the supervisor is gone; the exit status."""
    from transport.daemon import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def supervisor_gone() -> None:
        if not os.read(INPUT, 1):
            loop.remove_reader(INPUT)
            stop.set()

    loop.add_reader(INPUT, supervisor_gone)
    return await serve(settings, stop=stop)


def main() -> None:
    """Run until the gateway ends, and end the process."""
    start_without_collections()
    from transport.daemon.worker import read_settings

    with os.fdopen(INPUT, "rb", buffering=0, closefd=False) as stream:
        settings = read_settings(stream)
    try:
        leave(start(settings, work))
    except (GatewayError, OSError) as error:
        complain(str(error) or type(error).__name__)
        leave(CANNOT_START)


if __name__ == "__main__":
    main()
