"""What ``telgw bench`` measures, and how.

    trackers     the load: simulated trackers on one thread, cheaper than what they measure
    processes    the servers that are measured: their start, their CPU time, their memory
    stage        what runs beside each other, and on which cores
    measuring    one measurement of each kind
    commanding   the same for commands
    loads        the rounds of the table
    outcome      the table, as text, as JSON, and against an earlier one
    curves       how the cost depends on one number: the rounds and the values
    drawing      the table as SVG
    plotting     a curve as SVG
    page         what drawings share: size, style, colours
    floor.c      the least that such a server costs

Rates and times of a machine that does other work as well move severalfold from run to run. CPU time for one
frame moves far less, and its ratio to another server's in the same round less again. So that is what is
measured, in alternating rounds, and what is shown is the median.
"""
