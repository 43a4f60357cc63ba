"""The log line of a command, which tells what became of it."""

from __future__ import annotations

import structlog

from fsm.events import CommandEvent

log = structlog.get_logger("telgw.commands")


def log_verdict(event: CommandEvent) -> None:
    """Log one line per command: its verdict, never its text."""
    log.info(
        "command",
        action=event.trigger,
        command_id=event.command_id,
        imei=event.imei,
        state=event.state,
        reason=event.reason,
        delivery=event.delivery,
        rtt_ms=event.rtt_ms,
    )
