"""Commands: from an entry of the outbound stream to the write on a socket, the answer, and the verdict.

Owns every command from the moment its entry is read until its verdict is committed: the consumer of entries,
the commands in flight, the queue of each connection, commands of devices that are offline, cancellation,
duplicates, and the hand-over to another instance. A connection is a `Link`, the ledger is a port.

Invariants: a command changes only by an event that the ledger has committed, one at a time, and `sent` is
committed before the frame is written. One command is out on a connection at a time, in stream order. Nothing
here waits: a result of the ledger comes back as a call, and time is a sweep over deadlines.
"""
