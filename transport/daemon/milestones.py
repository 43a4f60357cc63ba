"""What the log says at the start and at the stop of a gateway."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from store.client.url import redacted
from transport.settings import Settings

if TYPE_CHECKING:
    from transport.commands.dispatcher import Dispatcher

log = structlog.get_logger("telgw")

FLUSH_TIMEOUT = 5.0
"""Seconds for records and events to be stored at the end."""
IMPATIENT = "A second signal ends the process at once."


def whereabouts(settings: Settings, url: str, pages_at: str) -> dict[str, str]:
    """What `ready` says beside the addresses for devices.

    Args:
        pages_at: the address of the metrics.
    """
    return {
        "instance_id": settings.instance_id,
        "redis": redacted(url),
        "metrics": pages_at,
        "version": version("teltonika-gateway"),
    }


def log_stop(settings: Settings, sessions: int, dispatcher: Dispatcher) -> None:
    """Log that the shutdown begins, what it waits for, and how long at most."""
    answers = dispatcher.draining
    some = f"answers to {answers} commands" if answers > 1 else "the answer to 1 command"
    log.info(
        "stopping",
        sessions=sessions,
        commands=len(dispatcher.entries),
        waits_for=some if answers else "records and events to be stored",
        at_most_s=settings.shutdown_timeout * (answers > 0) + FLUSH_TIMEOUT,
        meaning=IMPATIENT,
    )
