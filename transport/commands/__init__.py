"""Commands: from an entry of the outbound stream to the write on a socket, the answer, and the verdict.

Owns every command from the moment its entry is read until its verdict is committed. A connection is a
`Link`, the ledger is a port. `Dispatcher` is the door: nothing else here is called from outside, and nothing
else here submits to the ledger, writes to a connection or closes one.

Inputs in, effects out. Each input (an entry, an answer of the ledger, a device that is here, gone, between
frames or answering, time, the shutdown) is handled by a part that changes its own state and decides; what
follows is collected as values (`effects`) and carried out by the dispatcher when the part has returned. The
parts call each other in one direction only:

    dispatcher -> consumer -> duplicates, cancellation -> in_flight -> device_queues -> device_queue
               -> parking -> handover                  -> in_flight
               -> endings                              -> in_flight

`backlog` holds all queues after a start until the order of what lay on the stream is known.

A command's life is told in four files: `consumer` (its entry, its first event), `in_flight` (its further
events and what the ledger answers), `device_queue` (its turn, its frame, its answer), and `dispatcher` (what
comes in and what goes out).

`lookups` reads the ledgers of cancelled commands, and parked commands, for the dispatcher: the only tasks,
and the only waits.

Invariants: a command changes only by an event that the ledger has committed, one at a time, and `sent` is
committed before the frame is written. One command is out on a connection at a time, in stream order. A result
of the ledger comes back as an input, and time is a sweep over deadlines.
"""
