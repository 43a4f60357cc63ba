"""Numbers from Redis, where any client may have written anything."""

from __future__ import annotations

LONGEST = 20
"""Digits of the largest number of 64 bits. Python refuses to read thousands of them."""


def whole(text: bytes | str, otherwise: int) -> int:
    """The whole number that `text` is, in ASCII digits; `otherwise` when it is none, or a longer one."""
    return int(text) if text.isdigit() and text.isascii() and len(text) <= LONGEST else otherwise
