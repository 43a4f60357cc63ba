"""Redis: every key, script and client of the gateway. Only this package imports `redis`.

    client      clients, connections, scripts, errors
    streams     streams that are read and appended: commands, events, telemetry
    ledger      the state of commands, changed by compare-and-set
    fleet       the instances: registry, heartbeat, ownership of an id, janitor, adoption, allow-list
    api         the client for programs that send commands and read events: `store.api.Gateways`
    diagnosis   questions of ``telgw check``: a server, a fleet, the log, rights

Imports point downwards to `client`, `keys` and `fsm`; `transport` is never imported. Invariant: what must
change together changes in one script of ``scripts/``, and names of keys are written in `keys` only.
"""
