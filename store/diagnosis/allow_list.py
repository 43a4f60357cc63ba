"""Checks the list of allowed devices in Redis: a gateway refuses a device whose terms it cannot read."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from fsm.device_terms import BadLine, read_terms
from fsm.outbound import IMEI
from store.diagnosis.server import OK, WARNING, Report, examples
from store.keys import Keys

_PAGE = 1000


def devices(count: int) -> str:
    """A number of devices in words."""
    return f"{count} device{'s' * (count != 1)}"


async def diagnose_allow_list(report: Report, client: Redis, keys: Keys) -> None:
    """Add the findings to `report`; none if there is no list.

    Raises:
        StoreError: the server cannot be reached, or refuses all calls now.
    """
    members = await report.attempt(keys.allowed, _members(client, keys.allowed), set())
    terms = await report.attempt(keys.terms, _terms(client, keys.terms), {})
    if members:
        _check_members(report, keys.allowed, members)
    if terms:
        _check_terms(report, keys.terms, members, terms)


async def _members(client: Any, key: str) -> set[str]:
    return {name.decode(errors="replace") async for name in client.sscan_iter(key, count=_PAGE)}


async def _terms(client: Any, key: str) -> dict[str, str]:
    return {
        name.decode(errors="replace"): text.decode(errors="replace")
        async for name, text in client.hscan_iter(key, count=_PAGE)
    }


def _check_members(report: Report, key: str, members: set[str]) -> None:
    wrong = sorted(name for name in members if not IMEI.fullmatch(name))
    if wrong:
        found = f"{len(wrong)} members are not an IMEI of 15 digits: {examples(wrong)}"
        counts = {"devices": len(members) - len(wrong), "wrong": len(wrong)}
        report.add(WARNING, key, found, f"SREM {key} them: no device has such a name.", counts)
    else:
        report.add(OK, key, devices(len(members)), counts={"devices": len(members)})


def _check_terms(report: Report, key: str, members: set[str], terms: dict[str, str]) -> None:
    wrong = sorted(imei for imei, text in terms.items() if not _readable(text))
    idle = sorted(terms.keys() - members)
    if wrong:
        mend = "Write each as CIDR... cert=SHA256...: until then these devices are refused."
        found = f"{len(wrong)} rows cannot be read: {examples(wrong)}"
        report.add(WARNING, key, found, mend, {"unreadable": len(wrong)})
    if idle:
        mend = "SADD them to devices:allowed, or HDEL these rows."
        found = f"{len(idle)} rows are of devices that may not connect: {examples(idle)}"
        report.add(WARNING, key, found, mend, {"not_allowed": len(idle)})
    if not wrong and not idle:
        found = f"{len(terms)} devices have to show more than their IMEI"
        report.add(OK, key, found, counts={"devices": len(terms)})


def _readable(text: str) -> bool:
    try:
        read_terms(text)
    except BadLine:
        return False
    return True
