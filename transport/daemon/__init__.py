"""The wiring: the only part of the transport that knows the store.

`serve` runs one gateway as a process.
"""

from transport.daemon.process import serve

__all__ = ["serve"]
