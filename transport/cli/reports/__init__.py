"""What ``telgw report`` counts and draws.

    span        the time that is reported, cut into parts of equal length
    latency     how long something took: quantiles
    tally       commands, notes and closed sessions, counted from the log
    presence    how many devices were connected, from session events and the registry
    outages     when Redis and when gateways were away, as far as the log tells
    reading     reads the log once, and what is true now
    facts       the result, also as JSON
    charts      the drawings, by matplotlib: only this module and `svg` know it
    svg         a drawing as an element of a page, with colours that follow the style sheet
    markup      elements of a page; what they hold is escaped when it is written
    words       findings, shares and durations in words
    tables      the tables
    page        the page

The log is read in pages and folded entry by entry. What is kept grows with the devices that it names, the
open sessions and the parts of the time, never with the number of events.
"""
