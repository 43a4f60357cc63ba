"""What ``telgw check`` asks of Redis: a server, the keys of a fleet, the log, and the rights of a user.

Owns the findings: what was looked at, how bad it is, and what to do about it (`server.Finding`). It reads the
keys that the rest of `store` writes and may call all of it; nothing in `store` calls it.

Invariant: nothing is changed. Rights are tried on a key that nobody else sees, and on the keys of the gateway
with calls that change nothing. What a server refuses to tell is a finding, not an error. Values found in
Redis may have been written by anybody, and are bounded before they are counted or shown.
"""
