"""Back-pressure: which connections are read while data waits for the store.

Owns every pause of a connection that the backlog of its shard requires. Invariant: what is read from devices
and not stored yet exceeds the limit of the backlog by no more than one read for each connection.

While the backlog is full, no connection is read, not even a new one. From then on connections are read in
turn, as many at a time as there is room for, and one that was read waits again. Whose turn it is is decided
by fair queueing (`transport.connection.fair_queue`): those that always have more to read get the same number
of bytes each, and one that sends less does not wait for them. When no connection waits any more, the turns
end, and reading costs nothing extra.

There are two queues, because anybody may open many connections: those that have had a frame acknowledged get
three turns of four while any of them waits.

A connection that has more than its share of the backlog (`fsm.backlog`) does not take turns; it is read again
when its own frames are stored. One that has begun a frame longer than a read is read on when there is room
for the whole frame (`transport.connection.long_frames`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from fsm.backlog import Backlog
from fsm.telemetry import PendingFrame
from transport.connection.device_rate import AHEAD, ENTRY, DeviceRate
from transport.connection.fair_queue import FairQueue
from transport.connection.long_frames import LIMIT, LongFrames
from transport.connection.ports import Readable

READ_SIZE = 4096
"""Bytes taken from a connection in one read, and in one turn of the event loop. A device sends frames of at
most 1280 bytes, one at a time."""
FIRST_READ = 256
"""Bytes of one read before a device has named itself: it sends 17 and waits. So a crowd that sends more and
is not read on costs little, and who is refused may have sent as much and still gets his answer: with more
bytes unread the kernel would reset the connection."""
TLS_BUFFER = 4 * READ_SIZE
"""Bytes of TLS that are buffered for a connection that is not read."""
UNACKED_LIMIT = 32
"""Frames of one connection that may wait for the store; a device sends one and waits for its ack."""
OTHERS_TURN = 4
"""One of so many turns is for a connection that has had nothing acknowledged yet."""
READ_COST = 8 * READ_SIZE
"""Room in the backlog that is needed to read one connection: about the size of one read as JSON."""


class Backpressure:
    """The connections that wait to be read.

    Args:
        everyone: the connections that may be read.
        long_frames: bytes of long frames that may arrive at the same time.

    Attributes:
        device_rate: which devices send too fast.
        in_turns: whether connections are read in turn.
    """

    def __init__(
        self,
        backlog: Backlog,
        everyone: Callable[[], Iterable[Readable]],
        device_rate: DeviceRate,
        long_frames: int = LIMIT,
    ) -> None:
        self.in_turns = False
        self.device_rate = device_rate
        self._interval = device_rate.interval
        self._backlog = backlog
        self._everyone = everyone
        self._long_frames: LongFrames[Readable] = LongFrames(long_frames)
        self._proven: FairQueue[Readable] = FairQueue()
        self._others: FairQueue[Readable] = FairQueue()
        self._turn = 0
        self._stopped = False
        self._again: asyncio.Handle | None = None

    def after_read(self, connection: Readable, size: int) -> None:
        """A connection was read, `size` bytes: decide whether it is read on at once."""
        if self._backlog.full:
            self.hold_all()
        if self.in_turns:
            self._queue_of(connection).charge(connection, size)
        place, now = connection.place, connection.last_read
        paid_at = place.paid_at
        place.paid_at = paid_at = (paid_at if paid_at > now else now) + size * self._interval
        too_fast = paid_at - now > AHEAD
        if too_fast:
            self.device_rate.slow(connection)
        if connection.congested:
            connection.over_share = True
            connection.pause()
        elif too_fast:
            pass  # it is read again by `read_again`
        elif self.in_turns:
            self.wait(connection)
        elif size >= READ_SIZE:
            # There may be more. The others have their turn first, also where a loop would read on.
            connection.pause()
            asyncio.get_running_loop().call_soon(connection.resume)

    def to_store(self, connection: Readable, entries: int) -> None:
        """What was read of a connection becomes so many entries in Redis."""
        place, now = connection.place, connection.last_read
        paid_at = place.paid_at
        place.paid_at = (paid_at if paid_at > now else now) + entries * ENTRY * self._interval

    def arriving(self, connection: Readable, size: int, *, ended: bool) -> None:
        """What was read of a connection begins, continues or ends a frame that did not come in one read.

        Args:
            size: of the frame that has begun and not ended, as far as it is known; 0 for none.
            ended: another frame has ended before it.
        """
        if ended:
            self._end_long(connection)
        if size > READ_SIZE and not self._long_frames.begin(connection, size):
            connection.pause()

    def _end_long(self, connection: Readable) -> None:
        for other in self._long_frames.end(connection):
            other.extend_frame()
            if self.in_turns:
                self.wait(other)
            else:
                other.resume()

    def is_too_much(self, waiting: Sequence[PendingFrame]) -> bool:
        """Whether a connection of which these wait for the store has more than its share."""
        if len(waiting) < 2:
            return False
        weight = sum(frame.weight for frame in waiting)
        return len(waiting) >= UNACKED_LIMIT or not self._backlog.shares(weight)

    def after_store(self, connection: Readable) -> None:
        """Something is stored of a connection that had more than its share: with less it is read again."""
        if not connection.congested:
            connection.over_share = False
            if self.in_turns:
                self.wait(connection)
            else:
                connection.resume()

    def wait(self, connection: Readable) -> None:
        """The connection is not read until there is room and it is its turn."""
        if not connection.closed:
            connection.pause()
            if connection.place.proven_at is not None:
                self._others.forget(connection)  # in which it waited until now, or was read before
            self._queue_of(connection).add(connection)

    def _queue_of(self, connection: Readable) -> FairQueue[Readable]:
        return self._others if connection.place.proven_at is None else self._proven

    def hold_all(self) -> None:
        """The backlog is full: no connection is read."""
        if not self.in_turns:
            self.in_turns = True
            for connection in self._everyone():
                self.wait(connection)

    def holds(self, connection: Readable) -> bool:
        """Whether the connection is not to be read for now."""
        waits = connection in self._proven or connection in self._others
        no_room = self._long_frames.waits(connection) or self.device_rate.holds(connection)
        return self._stopped or connection.over_share or waits or no_room

    def forget(self, connection: Readable) -> None:
        """The connection is gone."""
        self._proven.forget(connection)
        self._others.forget(connection)
        self._end_long(connection)

    @property
    def waiting(self) -> int:
        """Connections that wait for their turn."""
        return len(self._proven) + len(self._others)

    def read_again(self, connection: Readable) -> None:
        """A connection whose device sent too fast has waited: it is read again, or waits for its turn."""
        if self.in_turns:
            self.wait(connection)
        else:
            connection.resume()

    def stop(self) -> None:
        """Stop reading all connections."""
        self._stopped = True
        for connection in self._everyone():
            connection.pause()

    def progress(self) -> None:
        """There may be room: whose turn it is is read again."""
        if self._stopped or not self.in_turns:
            return
        turns = max(0, self._backlog.free // READ_COST)
        for _ in range(min(turns, self.waiting)):
            self._next().resume()
        if not self.waiting:
            self.in_turns = False
            self._proven.clear()
            self._others.clear()
        elif turns and self._again is None:
            # Those whose turn it was are read first.
            self._again = asyncio.get_running_loop().call_soon(self._go_on)

    def _next(self) -> Readable:
        """Whose turn it is."""
        self._turn += 1
        others = not self._proven or (self._others and self._turn % OTHERS_TURN == 0)
        return (self._others if others else self._proven).pop()

    def _go_on(self) -> None:
        self._again = None
        self.progress()
