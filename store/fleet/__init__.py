"""The instances of a fleet: who holds which device, who is alive, and who finishes the work of the dead.

Owns the registry of devices, the heartbeat and the ownership of an instance id, the janitor with the adoption
of what a dead instance left, and the allow-list. It calls `client`, `streams`, `ledger` and `keys`.

Invariants: an instance id belongs to one process at a time, and a script of an earlier owner answers FENCED
and changes nothing. An entry of the registry is removed only by its own instance and session, or after its
instance has lost its heartbeat; every script that touches the work of another instance checks that first.
No clock but that of Redis is compared with a time in Redis.
"""
