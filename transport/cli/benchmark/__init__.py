"""What ``telgw bench`` measures, and how.

    trackers     the load: simulated trackers on one thread, cheaper than what they measure
    processes    the servers that are measured: their start, their CPU time, their memory
    measuring    one measurement of each kind, and the rounds of all of them
    outcome      the result as a table, as JSON, and against an earlier one
    drawing      the result as SVG
    floor.c      the least that such a server costs

Rates and times of a machine that does other work as well move severalfold from run to run. CPU time for one
frame moves far less, and its ratio to another server's in the same round less again. So that is what is
measured, in alternating rounds, and what is shown is the median.
"""
