"""Ports for servers that a test starts, and starts again, on a port of its own."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

PORTS = range(20_000, 32_000)
"""Ports that no kernel gives to clients, so that none takes one while its server is down."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.create_server((host, port), family=family):
            return port
