"""Streams of Redis: the commands that are read, the events and the telemetry that are appended.

Owns the form of every entry (`events`, `telemetry`), the order in which entries are read and appended, and
how streams are trimmed. It calls `client` and `keys`, and knows nothing of ledgers or other instances.

Invariants: an entry of ``commands:outbound`` stays pending until the verdict of its command, so the pending
list is the set of commands in flight. The records of a device are stored in the order in which they came;
after a call with an unknown outcome they are stored again, so a record may be stored twice, never zero times.
Nothing that reads from a device waits here: entries are queued, and one task sends one call at a time.
"""
