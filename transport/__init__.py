"""Everything except Redis: connections of devices, commands, the daemon and the command line.

    teltonika    codecs: bytes to values and back, without I/O
    connection   connections of devices
    commands     commands, from the read of their entry to their terminal event
    simulator    simulated trackers
    daemon       builds and runs one gateway process, with `store`
    cli          the verbs of ``telgw``

The modules beside the packages serve all of them: clock, logs, tasks, metrics, settings, ports. Only `daemon`
and `cli` import `store`; the other packages use it through the protocols of `ports`.
"""
