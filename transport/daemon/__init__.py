"""The wiring: the only part of the transport that knows the store.

`serve` runs one gateway as a process; after it, in `ending_at_once`, a signal ends what is left of that.
"""

from transport.daemon.process import serve
from transport.daemon.signals import ending_at_once

__all__ = ["ending_at_once", "serve"]
