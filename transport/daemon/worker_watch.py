"""Whether the event loop of a worker turns. A worker that does not answer is killed, and so started again.

Without this, devices of a worker that hangs would keep their connections and get no answer: the watchdog of
systemd hears of the supervisor only. Questions are counted and not time, because after a while in which the
whole service was stopped each worker has to get its chance.
"""

from __future__ import annotations

import asyncio
import signal

import structlog

from transport.daemon.worker import Worker
from transport.daemon.worker_pages import answers

log = structlog.get_logger("telgw")

ASKED_EVERY = 5.0
"""Seconds between two questions."""
UNANSWERED = 6
"""Questions in a row without an answer, after which a worker hangs."""
UNANSWERED_AT_START = 24
"""The same before its first answer: it may have to wait for a busy machine."""


async def kill_if_it_hangs(worker: Worker) -> None:
    """Watch the process of a worker that was just started; for ever, unless it hangs."""
    unanswered, limit = 0, UNANSWERED_AT_START
    while unanswered < limit:
        _, answered = await asyncio.gather(asyncio.sleep(ASKED_EVERY), answers(worker))
        if answered:
            unanswered, limit = 0, UNANSWERED
        else:
            unanswered += 1
    log.error("worker_hangs", worker=worker.number, unanswered=unanswered, every_s=ASKED_EVERY)
    worker.send(signal.SIGKILL)
