"""The application behind ``telgw top``.

    feed      what the screens show, read from Redis: the only part that calls it
    rates     how much flows, counted over the last minutes
    tables    rows and columns of the tables
    panes     the tabs
    app       the application: refreshes and keys
    details   one device, one command
    dialogs   sending and cancelling, which are confirmed, and the help

A screen shows what `feed` has read last and keeps no state of the fleet of its own. A refresh reads what is
visible: all devices are read only while their table is shown. Without Redis the last picture stays, with the
error above it. Text from outside is escaped, as in `transport.cli.render`.
"""
