"""Simulated trackers: what `telgw simulate`, `telgw demo` and the end-to-end tests connect to a gateway.

route     where a vehicle is, how fast and which way
vehicle   what its sensors and outputs read, as AVL records
answers   what a tracker says to a command
downlink  what a gateway sends, cut into acknowledgements and commands
tracker   the device itself: connects, reports, answers
"""

from __future__ import annotations

from .behaviour import Behaviour, Counters, Received
from .tracker import Tracker

__all__ = ["Behaviour", "Counters", "Received", "Tracker"]
