"""``telgw devices``: who is online, where, since when, and what is known of a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click
from msgspec import to_builtins
from rich.text import Text

from store.fleet.devices import DISPUTED, HELD, OFFLINE, ONLINE, Device, DeviceReader
from store.fleet.waits import wait_of
from store.keys import Keys
from store.ledger.open_commands import OpenCommand
from store.streams.producer import Producer
from store.streams.shard_counts import read_counts, shards_of

from . import disputes, render, stderr
from .event_loop import complete
from .ids import Imei, InstanceId
from .listing import Column, Row, print_listing
from .stream_options import Where, with_streams
from .streams import server
from .times import Times, duration
from .wait_texts import WAITS

FOUND, NONE = 0, 4
TABLE_LIMIT = 50
"""Devices that a table shows without --limit."""

STYLES = {ONLINE: "green", OFFLINE: "dim", "tainted": "yellow", HELD: "yellow", DISPUTED: "red"}
COLUMNS = (
    *(Column("IMEI"), Column("state"), Column("for", right=True), Column("heard", right=True)),
    *(Column("position"), Column("cmds", right=True), Column("gateway")),
    *(Column("km/h", right=True, extra=True), Column("address", extra=True), Column("since", extra=True)),
    Column("records", right=True, extra=True),
)

Key = Callable[[Device], Any]
Shards = Callable[[str], list[Keys]]
"""Tells which shards may have the records of a device."""
SORTS: dict[str, Key] = {
    "imei": lambda device: device.imei,
    "heard": lambda device: -(device.last_seen_ms or 0),
    "since": lambda device: -(device.since_ms or 0),
    "commands": lambda device: -len(device.commands),
    "gateway": lambda device: (device.instance_id, device.imei),
}
"""By name: the key by which devices are sorted. Times are sorted with the newest first."""


@click.command(short_help="Show who is online, where, since when, and what is known of a device.")
@click.argument("imeis", metavar="[IMEI]...", nargs=-1, type=Imei())
@click.option("--online", "wanted", flag_value=ONLINE, help="Only devices that are connected.")
@click.option("--offline", "wanted", flag_value=OFFLINE, help="Only devices that are not.")
@click.option(
    "--disputed",
    is_flag=True,
    help="Only devices that have changed hands lately: by whom they are claimed, and who had them before.",
)
@click.option("--instance", type=InstanceId(), help="Only devices of this gateway.")
@click.option(
    "--shard",
    type=click.IntRange(0),
    help="Only devices whose records are in this shard: those that wait when it is away.",
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="imei",
    show_default=True,
    help="Order: heard and since begin with the newest, commands with the most.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"The most devices.  [default: {TABLE_LIMIT}; all of them with --json or named devices]",
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per device.")
@with_streams
def command(
    where: Where,
    imeis: tuple[str, ...],
    wanted: str | None,
    disputed: bool,
    instance: str | None,
    shard: int | None,
    sort: str,
    limit: int | None,
    utc: bool,
    raw: bool,
) -> int:
    """Show every device that is connected or has ever reported; with one IMEI all that is known of it.

    A device is online while a gateway with a heartbeat holds it. A state such as `tainted` means that it is
    connected and gets no command now; `held` and `disputed`: because it has changed hands. `for` is how long
    it has been connected or away, and `heard` how long ago its last bytes came.

    With --disputed `held` means that its commands wait, `disputed` that they end, and `before` that neither
    is so any more. Here `for` begins with the first change. Changes are remembered for 20 times
    --takeover-hold.

    Exit status: 0 found; 2 wrong use, or Redis cannot be used; 4 there is no such device.
    """
    if limit is None and not raw and not imeis:
        limit = TABLE_LIMIT
    choice = Choice(wanted, disputed, instance, shard, sort, limit)
    return complete(_devices(where, imeis, choice, Times(utc), raw))


class Choice:
    """Which devices are shown, and in which order."""

    def __init__(
        self,
        state: str | None,
        disputed: bool,
        instance: str | None,
        shard: int | None,
        sort: str,
        limit: int | None,
    ) -> None:
        self._state = state
        self.disputed = disputed
        self._instance = instance
        self._shard = shard
        self._sort = SORTS[sort]
        self._limit = limit

    def of(self, devices: Sequence[Device], shards: Shards) -> list[Device]:
        """All of them that are wanted."""
        found = [
            device
            for device in devices
            if (self._state is None or device.online == (self._state == ONLINE))
            and (not self.disputed or disputes.is_doubtful(device))
            and (self._instance is None or device.instance_id == self._instance)
            and (self._shard is None or self._shard in [shard.shard or 0 for shard in shards(device.imei)])
        ]
        return sorted(found, key=self._sort)

    def first(self, devices: Sequence[Device]) -> Sequence[Device]:
        """As many as are shown."""
        return devices[: self._limit]


async def _devices(where: Where, imeis: tuple[str, ...], choice: Choice, times: Times, raw: bool) -> int:
    async with server(where, "devices") as client:
        keys = Keys(where.key_prefix)
        reader = DeviceReader(client, keys)
        known = await reader.read(imeis, claims=choice.disputed or bool(imeis))
        now_ms = await Producer(client, keys).now_ms()
        shards = partial(shards_of, keys, await read_counts(client, keys))
    found = choice.of(known, shards)
    shown = choice.first(found)
    if raw:
        lines = [json.dumps(as_dict(device, reader, shards, now_ms)) for device in shown]
        click.echo("\n".join(lines), nl=bool(lines))
    elif len(imeis) == 1 and found:
        _print_one(found[0], reader, shards, times, now_ms)
    elif found and choice.disputed:
        print_listing(render.Output(), disputes.COLUMNS, [disputes.row(device, now_ms) for device in shown])
        click.echo(f"{len(found)} have changed hands{_more(found, shown)}")
    elif found:
        print_listing(render.Output(), COLUMNS, [row(device, times, now_ms) for device in shown])
        _print_counts(found, shown)
    missing = [imei for imei in imeis if imei not in {device.imei for device in known}]
    for imei in missing:
        stderr.fault(f"Nothing is known of the device {render.printable(imei, 32)}.")
    if not found and not missing:
        what = "No device has changed hands lately." if choice.disputed else "There is no such device."
        stderr.fault(what)
    return FOUND if found and not missing else NONE


def _print_counts(found: Sequence[Device], shown: Sequence[Device]) -> None:
    online = sum(device.online for device in found)
    click.echo(f"{online} online, {len(found) - online} offline{_more(found, shown)}")


def _more(found: Sequence[Device], shown: Sequence[Device]) -> str:
    return f"; {len(found) - len(shown)} more: --limit" if len(shown) < len(found) else ""


def row(device: Device, times: Times, now_ms: int) -> Row:
    """A device as a row of the table."""
    status, last = device.status, device.status.last if device.status else None
    texts = (
        *(render.printable(device.imei, 64), "", since(device.since_ms, now_ms)),
        since(device.last_seen_ms, now_ms),
        f"{last.latitude:.5f} {last.longitude:.5f}" if last else "",
        str(len(device.commands) or ""),
        render.printable(device.instance_id, 64),
        str(last.speed) if last else "",
        render.printable(status.peer, 64) if status else "",
        times.show(device.since_ms),
        str(status.records) if status else "",
    )
    cells = [Text(text) for text in texts]
    cells[1] = _state(device)
    return Row(cells, Text())


def _state(device: Device) -> Text:
    return Text(render.printable(device.state, 32), STYLES.get(device.state, ""))


def since(moment_ms: int | None, now_ms: int) -> str:
    """How long ago a moment was; empty for None."""
    return "" if moment_ms is None else duration(now_ms - moment_ms)


def as_dict(device: Device, reader: DeviceReader, shards: Shards, now_ms: int) -> dict[str, Any]:
    """A device as JSON: what is known of it, and the commands that have not ended."""
    status = to_builtins(device.status) if device.status else {}
    fields = {
        "imei": device.imei,
        "online": device.online,
        **{name: value for name, value in status.items() if value not in (None, "")},
        "instance_id": device.instance_id,
        "state": device.state,
    }
    commands = [
        {
            "command_id": one.command_id,
            "state": one.state,
            "age_ms": max(0, now_ms - one.accepted_at),
            "waits_for": wait_of(one, device, reader.alive).value,
        }
        for one in device.commands
    ]
    claims = {"claims": disputes.claims_json(device)} if device.claims else {}
    streams = [shard.telemetry for shard in shards(device.imei)]
    return fields | claims | {"streams": streams, "commands": commands}


def _print_one(device: Device, reader: DeviceReader, shards: Shards, times: Times, now_ms: int) -> None:
    """All that is known of a device, a line for each thing."""
    console = render.Output()
    streams = ", ".join(shard.telemetry for shard in shards(device.imei))
    for name, text in [*facts(device, times, now_ms), ("records in", streams)]:
        if text:
            console.print(Text.assemble((f"{name:<12}", "bold"), text), soft_wrap=True)
    for one in device.commands:
        console.print(
            Text.assemble((f"{'command':<12}", "bold"), _command(one, device, reader, now_ms)), soft_wrap=True
        )


def facts(device: Device, times: Times, now_ms: int) -> list[tuple[str, Text | str]]:
    """All that is known of a device, as names and texts; a text may be empty."""
    status = device.status

    def moment(epoch_ms: int | None) -> str:
        return f"{times.show(epoch_ms)}, {since(epoch_ms, now_ms)} ago" if epoch_ms else ""

    facts: list[tuple[str, Text | str]] = [
        ("IMEI", render.printable(device.imei, 64)),
        ("state", _state(device)),
        ("gateway", render.printable(device.instance_id, 64)),
        *disputes.facts(device, times, now_ms),
    ]
    if status is None:
        return facts
    last = status.last
    place = (
        last and f"{last.latitude:.6f} {last.longitude:.6f}, {last.speed} km/h, {last.satellites} satellites"
    )
    reported = times.show(int(last.timestamp)) if last and str(last.timestamp).isdigit() else ""
    return [
        *facts,
        ("address", render.printable(status.peer, 64)),
        ("proof", render.printable(status.auth, 96)),
        ("session", render.printable(f"{status.session_id} {status.state}", 96)),
        ("connected", moment(status.connected_at)),
        ("left", moment(status.disconnected_at) if not device.online else ""),
        ("because", render.printable(status.reason, 32) if not device.online else ""),
        ("heard", moment(status.last_seen_at)),
        ("position", place or ""),
        ("recorded", f"{reported} by the clock of the device" if reported else ""),
        ("stored", f"{status.frames} frames with {status.records} records on this connection"),
        ("serial port", "sends data" if status.serial else ""),
    ]


def _command(one: OpenCommand, device: Device, reader: DeviceReader, now_ms: int) -> Text:
    wait = WAITS[wait_of(one, device, reader.alive)]
    name, age = render.printable(one.command_id, 64), duration(now_ms - one.accepted_at)
    return Text.assemble(f"{name}  ", render.styled(one.state), f"  for {age}: {wait}")
