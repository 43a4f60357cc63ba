"""Values and rules of the gateway: no I/O, no clock, no logging, no asyncio.

Everything in this package is a pure function of its arguments. Time is an argument. Effects are returned as
values; other packages carry them out.
"""
