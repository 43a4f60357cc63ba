"""Connections of devices: who may connect, the handshake, what is read, and when a connection is closed.

Owns every socket from its accept to its end: admission and limits, TLS and the PROXY header, the allow-list,
the session of a device, the acknowledgement of its frames, and back-pressure. Bytes are decoded by
`transport.teltonika`; telemetry, registry and session log are ports (`transport.ports`).

Invariants: nothing in the read path waits, neither for Redis nor for a command. A frame is acknowledged after
it is stored whole, in the order of the frames. What is read and not yet stored stays within the limit of the
backlog, however many connections there are. Everything that comes from a socket is bounded until it is valid.
"""
