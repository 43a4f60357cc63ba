"""The daemon: builds a gateway from `transport` and `store`, runs it, and stops it in order.

Only this package and the command line import both. Owns the order of the start (the instance id is ours
before a port opens), every task of the process (`transport.tasks`), the clients of Redis, and the order of
the shutdown: nothing new comes in, commands get their verdicts, records are stored and acknowledged.

`serve` runs one gateway as a process; after it, in `ending_at_once`, a signal ends what is left of that.
"""

from transport.daemon.process import serve
from transport.daemon.signals import ending_at_once

__all__ = ["ending_at_once", "serve"]
