"""The daemon: builds a gateway from `transport` and `store`, runs it, and stops it in order.

Only this package and the command line import both. It owns the order of the start (the process owns its
instance id before a device can connect), all tasks of the process (`transport.tasks`), the clients of Redis,
and the order of the shutdown: nothing new is accepted, commands get their terminal events, records are stored
and acknowledged.

`serve` runs one gateway as a process. After it, within `ending_at_once`, one signal ends the process.
"""

from transport.daemon.process import serve
from transport.daemon.signals import ending_at_once

__all__ = ["ending_at_once", "serve"]
