"""Calls as Redis reads them: arguments, each with its size in front (RESP).

A call that carries a thousand records has as many arguments. redis-py and hiredis copy each of them several
times. Here the pieces of a call are collected as they are, and are copied once, into the whole call.
`tests/load/test_costs.py` has the measurement.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

END = b"\r\n"
KNOWN = 4096
_SIZES = [b"$%d" % size for size in range(KNOWN)]


class Arguments(list[bytes]):
    """Arguments of a call: the size of each, and the argument itself, in turn.

    Args:
        values: the first arguments.
    """

    def __init__(self, values: Iterable[str | bytes | int] = ()) -> None:
        super().__init__()
        self.add([value if isinstance(value, bytes) else str(value).encode() for value in values])

    def add(self, values: Iterable[bytes]) -> None:
        """Add arguments."""
        for value in values:
            size = len(value)
            self += (_SIZES[size] if size < KNOWN else b"$%d" % size, value)


def pack(*parts: Arguments) -> bytes:
    """The call whose name and arguments these are."""
    return END.join((b"*%d" % (sum(map(len, parts)) // 2), *chain.from_iterable(parts), b""))
