"""The contract of the store: each rule holds on every backend, in memory and real."""

from __future__ import annotations

from tests.redis.conftest import book, fleet

__all__ = ["book", "fleet"]
