"""What a Redis server reports of itself, as far as this user may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from store.client.errors import StoreRefused


@dataclass(slots=True, frozen=True)
class Server:
    """What a server reported. The part of a refused command is empty, and the command is in `refused`.

    ``skew_ms`` is how far its clock is ahead of the clock of this host; None if it was not told.
    """

    info: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    skew_ms: int | None = 0
    refused: tuple[str, ...] = ()


async def ask(client: Redis, host_ms: Callable[[], int]) -> Server:
    """What a server reports.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    before, now_ms = host_ms(), await time_ms(client)
    skew_ms = None if now_ms is None else now_ms - (before + host_ms()) // 2
    info = await _unless_refused(client.info())
    config: dict[str, str] = {}
    for pattern in ("append*", "maxmemory*", "min-replicas*"):  # not `*`, which would return passwords
        part = await _unless_refused(client.config_get(pattern))
        config |= {text_of(name): text_of(value) for name, value in (part or {}).items()}
    answers = (("INFO", info), ("CONFIG", config), ("TIME", now_ms))
    refused = [name for name, answer in answers if not answer]
    return Server(info or {}, config, skew_ms, tuple(refused))


async def time_ms(client: Redis) -> int | None:
    """Epoch ms by the clock of the server; None if this user may not ask.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    found = await _unless_refused(client.time())
    return int(found[0]) * 1000 + int(found[1]) // 1000 if found else None


async def _unless_refused(answer: Any) -> Any:
    """The answer; None if this user may not ask, or no user may, as with many hosted servers."""
    try:
        return await answer
    except StoreRefused as error:
        if error.code == "NOPERM" or "unknown command" in str(error).lower():
            return None
        raise


def text_of(value: Any) -> str:
    """A value of a reply as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
