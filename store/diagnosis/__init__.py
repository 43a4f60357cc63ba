"""The checks of ``telgw check`` in Redis: the server, the keys of a fleet, the log, and the rights of a user.

It owns the findings: what was checked, how serious it is, and what to do about it (`server.Finding`). It
reads the keys that the rest of `store` writes and may call all of it; nothing in `store` calls it.

Invariant: nothing is changed. Rights are tried on a key that no other client sees, and on the keys of the
gateway with calls that change nothing. If a server refuses a question, that is a finding, not an error. Any
client may have written the values in Redis, so they are bounded before they are counted or shown.
"""
