"""What differs from one version of redis-py to another."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import AbstractConnection

CAN_READ = "can_read" if hasattr(AbstractConnection, "can_read") else "can_read_destructive"
"""The question for unread bytes, which pools ask before they hand out a connection."""


def _options() -> dict[str, Any]:
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # this version reads it once
        return {}
    return {"driver_info": DriverInfo()}


OPTIONS = _options()
"""What connections tell the server of redis-py, which reads its version from a file for each of them."""
