"""Connections of devices: who may connect, the handshake, reading, and closing.

It owns every socket from its accept to its end: admission and limits, TLS and the PROXY header, the
allow-list, the session of a device, the acknowledgement of its frames, and back-pressure. Bytes are decoded
by `transport.teltonika`; telemetry, registry and session log are ports (`transport.ports`).

Invariants: nothing in the read path waits for Redis or for a command. Frames are acknowledged in their order,
each after it is stored completely. Bytes that are read but not stored stay within the limit of the backlog,
however many connections there are. All input from a socket is bounded until it is validated.
"""
