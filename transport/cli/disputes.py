"""Devices of which it is, or was lately, doubtful who they are: how ``telgw devices`` shows them."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from fsm.takeover import CERTIFICATE, KEPT, Claimant, changes_of
from store.fleet.devices import DISPUTED, HELD, Device

from . import render
from .listing import Column, Row
from .times import Times, duration

SETTLED = "before"
"""The device has changed hands, and commands are not held back any more."""
STYLES = {DISPUTED: "red", HELD: "yellow", SETTLED: "dim"}
COLUMNS = (
    *(Column("IMEI"), Column("doubt"), Column("for", right=True), Column("claimed by"), Column("before")),
    *(Column("changes", right=True, extra=True), Column("gateway", extra=True)),
)
FINGERPRINT = 8
"""Digits of the SHA-256 of a certificate that a table shows."""


def is_doubtful(device: Device) -> bool:
    """Whether commands of the device are held back, or it has changed hands as far as is remembered."""
    return device.hold is not None or bool(changes_of(device.claims))


def row(device: Device, now_ms: int) -> Row:
    """A device as a row of the table."""
    doubt = device.doubt or SETTLED
    changes = changes_of(device.claims)
    count = max(len(changes), device.hold.changes if device.hold else 0)
    now, before = _peers(device)
    since = _since_ms(device)
    cells = [
        Text(render.printable(device.imei, 64)),
        Text(doubt, STYLES[doubt]),
        Text("" if since is None else duration(now_ms - since)),
        Text(_short(now)),
        Text(_short(before)),
        Text(f"{count}+" if len(device.claims) >= KEPT else str(count)),
        Text(render.printable(device.instance_id, 64)),
    ]
    return Row(cells, Text())


def _peers(device: Device) -> tuple[Claimant, Claimant]:
    """Who has the device, or had it last, and who had it before."""
    if changes := changes_of(device.claims):
        newer, older = changes[0]
        return newer.claimant, older.claimant
    assert device.hold is not None
    assert device.status is not None
    return (
        Claimant(device.status.peer.rpartition(":")[0], device.status.auth),
        Claimant(device.hold.before, device.hold.before_auth),
    )


def _since_ms(device: Device) -> int | None:
    """When the device changed hands for the first time that is remembered."""
    if device.hold is not None:
        return device.hold.since
    changes = changes_of(device.claims)
    return changes[-1][0].at if changes else None


def _short(peer: Claimant) -> str:
    auth = peer.auth
    if auth.startswith(CERTIFICATE):
        auth = auth[: len(CERTIFICATE) + FINGERPRINT]
    return render.printable(f"{peer.host} {auth}", 64)


def facts(device: Device, times: Times, now_ms: int) -> list[tuple[str, Text | str]]:
    """What a sheet about the device says of it, as names and texts."""
    if not is_doubtful(device):
        return []
    found: list[tuple[str, Text | str]] = []
    if hold := device.hold:
        until = times.show(hold.until)
        what = "commands end as identity_disputed" if hold.disputed else "commands wait"
        left = duration(hold.until - now_ms)
        found.append(
            (
                "doubt",
                Text.assemble((device.doubt, STYLES[device.doubt]), f": {what} until {until}, for {left}"),
            )
        )
    else:
        found.append(("doubt", "none now; the device has changed hands before"))
    for number, claim in enumerate(device.claims):
        peer = render.printable(str(claim.claimant), 128)
        ago = f"{times.show(claim.at)}, {duration(now_ms - claim.at)} ago" if claim.at else "earlier"
        found.append(("" if number else "claimed by", f"{peer}, {ago}"))
    return found


def claims_json(device: Device) -> list[dict[str, Any]]:
    """Who has claimed the device, the newest first; a time of 0 is not known."""
    return [
        {"at": claim.at or None, "address": claim.claimant.host, "auth": claim.claimant.auth}
        for claim in device.claims
    ]
