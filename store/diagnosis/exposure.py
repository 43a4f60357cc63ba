"""Checks what a gateway says of its own exposure: open listeners, a readable key, certificates near their
end."""

from __future__ import annotations

from datetime import UTC, datetime

from store.diagnosis.server import CRITICAL, OK, WARNING, Report
from store.fleet.exposure import Exposure

SOON_MS = 30 * 86_400_000
"""A certificate that ends within this time is a finding."""
DAY_MS = 86_400_000


def diagnose_exposure(report: Report, instance_id: str, exposure: Exposure, now_ms: int) -> None:
    """Add the findings to `report`; `now_ms` is epoch ms of Redis."""
    if exposure.open_to_all:
        found = f"{exposure.open_to_all}: anyone who reaches it can say any IMEI and get its commands"
        mend = "Use --allow-list, --allow-from or --tls-client-ca; or say --allow-list any, if this is meant."
        report.add(WARNING, f"listeners of {instance_id}", found, mend)
    if exposure.exposed_key:
        found = f"other users of its host may read or write {exposure.exposed_key}"
        report.add(
            WARNING, f"key of {instance_id}", found, "chmod 600 that file; if others had read it, renew it."
        )
    for what, until_ms in (
        ("certificate", exposure.certificate_until_ms),
        ("client CA", exposure.authority_until_ms),
    ):
        if until_ms:
            _check_end(report, f"{what} of {instance_id}", until_ms, now_ms)


def _check_end(report: Report, subject: str, until_ms: int, now_ms: int) -> None:
    until = f"{datetime.fromtimestamp(until_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    left = until_ms - now_ms
    mend, counts = "Replace its file, and send SIGHUP to the gateway.", {"days_left": left // DAY_MS}
    if left <= 0:
        report.add(
            CRITICAL, subject, f"expired at {until}: devices that check it cannot connect", mend, counts
        )
    elif left <= SOON_MS:
        report.add(WARNING, subject, f"expires at {until}, in {counts['days_left']} days", mend, counts)
    else:
        report.add(OK, subject, f"valid until {until}", counts=counts)
