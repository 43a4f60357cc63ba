"""The check of the Redis server, which a gateway does once after its start."""

from __future__ import annotations

import asyncio

import structlog

from store.diagnosis.server import OK, PERMISSIONS, WARNING, diagnose_server
from transport.clock import Clock
from transport.daemon.backend import Backend

log = structlog.get_logger("telgw")


async def check_up(backend: Backend, renewed: asyncio.Event) -> None:
    """After the first heartbeat, log problems of the server. Nothing waits for this task.

    Args:
        renewed: set when the heartbeat is renewed.
    """
    await renewed.wait()
    try:
        findings = await diagnose_server(backend.clients["janitor"], Clock().now_ms)
    except Exception as error:  # an unexpected answer of the server must not end the gateway
        backend.report("check", error)
        return
    for finding in findings:
        # A gateway with the least rights may not read CONFIG: that is not a problem.
        write = log.info if (finding.subject, finding.level) == (PERMISSIONS, WARNING) else log.warning
        if finding.level != OK:
            write("check", subject=finding.subject, found=finding.found, mend=finding.mend)
