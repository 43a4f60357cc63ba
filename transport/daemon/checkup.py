"""The look at the server that a gateway takes once, when it has begun."""

from __future__ import annotations

import asyncio

import structlog

from store.diagnosis.server import OK, PERMISSIONS, WARNING, diagnose_server
from transport.clock import Clock
from transport.daemon.backend import Backend

log = structlog.get_logger("telgw")


async def check_up(backend: Backend, renewed: asyncio.Event) -> None:
    """After the first heartbeat, log what is not right with the server; nobody waits for it.

    Args:
        renewed: set when the heartbeat is renewed.
    """
    await renewed.wait()
    try:
        findings = await diagnose_server(backend.clients["janitor"], Clock().now_ms)
    except Exception as error:  # a server that answers strangely is no reason for a gateway to end
        backend.report("check", error)
        return
    for finding in findings:
        # CONFIG is withheld from a gateway with no more rights than it needs: that is worth no alarm.
        write = log.info if (finding.subject, finding.level) == (PERMISSIONS, WARNING) else log.warning
        if finding.level != OK:
            write("check", subject=finding.subject, found=finding.found, mend=finding.mend)
