"""Simulated trackers, for `telgw simulate`, `telgw demo` and the end-to-end tests.

route      position, speed and direction of a vehicle
vehicle    its sensors and outputs, as AVL records
answers    answers to commands
downlink   cuts what a gateway sends into acknowledgements and commands
behaviour  how a tracker behaves
tracker    one device: connects, sends records, answers commands
fleet      many devices
"""

from __future__ import annotations

from .behaviour import Behaviour, Counters, Received
from .tracker import Tracker

__all__ = ["Behaviour", "Counters", "Received", "Tracker"]
