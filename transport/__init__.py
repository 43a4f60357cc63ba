"""Everything but Redis: sockets of devices, commands, and the daemon and command line that wire it all.

    teltonika    codecs: bytes to values and back, without I/O
    connection   connections of devices
    commands     commands on their way to a device and back
    simulator    trackers for trying things out
    daemon       the wiring of one process, with `store`
    cli          the verbs of ``telgw``

Modules beside the packages serve all of them: clock, logs, tasks, metrics, settings, ports. `store` is
imported by `daemon` and `cli` only; the others meet it in the protocols of `ports`.
"""
