"""``telgw records``: what a device has reported."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from msgspec import UNSET
from rich.padding import Padding
from rich.text import Text

from fsm.device_status import FOREVER, Span
from fsm.record_data import NamedValue
from store.streams.producer import LogEntry, as_bytes
from store.streams.record_data import RecordData, read_record
from transport.teltonika.avl import decode_avl
from transport.teltonika.avl_ids import DEFAULT_FAMILY
from transport.teltonika.errors import Undecodable
from transport.teltonika.io_names import IoNames
from transport.teltonika.record_json import record_json

from . import render, stderr, track
from .avl import dictionary_with
from .event_loop import complete
from .ids import Imei
from .parameters import Moment
from .record_streams import RecordStreams, record_streams
from .stream_options import Where, with_streams

FOUND, NONE = 0, 4

Report = tuple[LogEntry, RecordData]
"""An entry of the stream, and one record in it."""


@click.command(short_help="Show the records of a device, or its track on a map.")
@click.argument("imei", type=Imei())
@click.option("--since", type=Moment(), default="1d", show_default=True, help="The earliest time of arrival.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="The most records; newest first."
)
@click.option(
    "--scan",
    is_flag=True,
    help="Look at all entries, also of times when the device has not reported by devices:status.",
)
@click.option("--follow", is_flag=True, help="Go on with new records as they arrive, until Ctrl-C.")
@click.option("--names", is_flag=True, help="Show IO values with their names and units.")
@click.option(
    "--family",
    default=DEFAULT_FAMILY,
    show_default=True,
    help="The family or model of the device, for --names.",
)
@click.option(
    "--avl-ids",
    "own",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file with AVL ids of your own, for --names.",
)
@click.option(
    "--map",
    "path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the positions to FILE.geojson or FILE.gpx instead, all of them since --since.",
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per record.")
@with_streams
def command(
    where: Where,
    imei: str,
    since: int,
    limit: int,
    scan: bool,
    follow: bool,
    names: bool,
    family: str,
    own: Path | None,
    path: Path | None,
    utc: bool,
    raw: bool,
) -> int:
    """Show what the device IMEI has reported, the newest record first; with --follow the oldest first.

    Times are those of the device's clock. A position with 0 satellites is the last known one.

    Gateways tell in devices:status when a device has reported; entries of other times are not looked at.

    Exit status: 0 found; 2 wrong use; 4 no record of the device was found.
    """
    if path is not None and (follow or path.suffix not in track.WRITERS):
        raise click.UsageError("--map writes FILE.geojson or FILE.gpx, and does not follow.")
    named = IoNames(dictionary_with(own), lambda _: family) if names else None
    shown = Shown(named, family, None if utc else datetime.now().astimezone(), raw)
    wanted = Wanted(imei, since, limit, scan)
    if path is not None:
        positions: list[track.Position] = []
        status = complete(_collect(where, wanted, positions))
        return _write(wanted, positions, path) if positions else status
    return complete(_follow(where, wanted, shown) if follow else _records(where, wanted, shown))


class Wanted(NamedTuple):
    """Which records; `since` is epoch ms. With `scan` entries of all times since then are looked at."""

    imei: str
    since: int
    limit: int
    scan: bool


async def _records(where: Where, wanted: Wanted, shown: Shown) -> int:
    found = 0
    async with record_streams(where, wanted.imei) as streams:
        times = await _times(streams, wanted)
        async for report in _newest(streams, times or (), wanted.imei):
            shown.print([report])
            found += 1
            if found == wanted.limit:
                break
    return FOUND if found else _none("record", wanted, times)


async def _follow(where: Where, wanted: Wanted, shown: Shown) -> int:
    async with record_streams(where, wanted.imei) as streams:
        newest: list[Report] = []
        tails = await streams.tails()
        async for report in _newest(streams, await _times(streams, wanted) or (), wanted.imei):
            newest.append(report)
            if len(newest) == wanted.limit:
                break
        shown.print(newest[::-1])
        async for entry in streams.follow(newest[0][0][0] if newest else "", tails):
            shown.print(reports(entry, wanted.imei))
    return FOUND


async def _collect(where: Where, wanted: Wanted, positions: list[track.Position]) -> int:
    async with record_streams(where, wanted.imei) as streams:
        times = await _times(streams, wanted)
        async for _, record in _newest(streams, times or (), wanted.imei):
            if record.satellites:
                positions.append(track.Position.of(record))
    return FOUND if positions else _none("position", wanted, times)


def _write(wanted: Wanted, positions: list[track.Position], path: Path) -> int:
    path.write_text(track.WRITERS[path.suffix](wanted.imei, sorted(positions)), encoding="utf-8")
    click.echo(f"{len(positions)} positions written to {path}.")
    return FOUND


async def _times(streams: RecordStreams, wanted: Wanted) -> list[Span] | None:
    """The times whose entries are looked at; None if nothing is known of the device."""
    return [(wanted.since, FOREVER)] if wanted.scan else await streams.times(wanted.since)


def _none(what: str, wanted: Wanted, times: list[Span] | None) -> int:
    """Say what is known when nothing was found in `times`."""
    imei, now_ms = render.printable(wanted.imei, 32), datetime.now(UTC).timestamp() * 1000
    if times is None:
        text = f"Nothing is known of the device {imei}. With --scan its records are looked for."
    elif not times:
        text = (
            f"By devices:status {imei} has not reported in that time. With --scan its records are looked for."
        )
    elif len(times) == 1 and times[0][0] == wanted.since and times[0][1] >= now_ms:
        text = f"There is no {what} of {imei} in that time."
    else:
        text = (
            f"There is no {what} of {imei} in the parts of that time in which, by devices:status, it may have"
            " reported. With --scan all entries are looked at."
        )
    stderr.fault(text)
    return NONE


async def _newest(streams: RecordStreams, times: Iterable[Span], imei: str) -> AsyncIterator[Report]:
    async for entry in streams.newest(times, imei):
        for report in reversed(reports(entry, imei)):
            yield report


def reports(entry: LogEntry, imei: str) -> list[Report]:
    """The records in an entry, if it is one of the device; one of ``--payload raw`` may have many."""
    fields = entry[1]
    if fields.get("imei") != imei:
        return []
    try:
        if "frame" in fields:
            bodies = [record_json(record) for record in decode_avl(as_bytes(fields["frame"]))]
        else:
            bodies = [fields["data"].encode()]
        return [(entry, read_record(body)) for body in bodies]
    except (KeyError, ValueError, Undecodable):
        return []  # not an entry of a gateway


class Shown:
    """How records are printed.

    Args:
        names: names IO values; without it they are shown by their ids.
        family: of the device.
        local: any time in the local time zone; None for UTC.
        raw: as JSON.
    """

    def __init__(self, names: IoNames | None, family: str, local: datetime | None, raw: bool) -> None:
        self._names = names
        self._family = family
        self._zone = local.tzinfo if local else UTC
        self._raw = raw
        self._console = render.Output()

    def print(self, found: Sequence[Report]) -> None:
        """Print records, in their order."""
        for (entry_id, fields), record in found:
            if self._raw:
                click.echo(json.dumps(self._as_dict(entry_id, fields, record), ensure_ascii=False))
            else:
                self._print(record)

    def _as_dict(self, entry_id: str, fields: dict[str, str], record: RecordData) -> dict[str, Any]:
        if self._names is not None:
            record.named = self._names.named(record, self._family)
        head: dict[str, Any] = {
            name: fields[name] for name in ("imei", "codec", "instance_id") if name in fields
        }
        return {"id": entry_id, **head, **record.to_dict()}

    def _print(self, record: RecordData) -> None:
        """One record on one line, or on two where the IO values do not fit behind the position."""
        place = f"{record.latitude:>11.6f} {record.longitude:>11.6f} {record.speed:>4} km/h"
        more = f"{record.satellites:>3} sat  event {record.event_id}"
        head = Text.assemble((self._time(record.timestamp), "bold"), f"{place} {more}")
        io = Text(self._io(record))
        if head.cell_len + 2 + io.cell_len <= self._console.width:
            self._console.print(Text("  ").join((head, io)), no_wrap=True)
        else:
            self._console.print(head, Padding(io, (0, 0, 0, 2), expand=False))

    def _time(self, timestamp: int | str) -> str:
        try:
            return f"{datetime.fromtimestamp(int(timestamp) / 1000, self._zone):%Y-%m-%d %H:%M:%S%z}"
        except (ValueError, OverflowError, OSError):
            return str(timestamp)  # the clock of a device may say anything

    def _io(self, record: RecordData) -> str:
        if self._names is None:
            signed = record.signed or {}
            return " ".join(f"{number}={signed.get(number, value)}" for number, value in record.io.items())
        named = self._names.by_id(record, self._family)
        parts = []
        for number, value in record.io.items():
            name, meaning = named.get(number, (number, None))
            parts.append(f"{name} {render.printable(str(value)) if meaning is None else _text(meaning)}")
        return ", ".join(parts)


def _text(value: NamedValue) -> str:
    """A value as a line shows it."""
    text = render.printable(value.text) if value.text else ""
    if value.value is UNSET:
        return text
    return " ".join(filter(None, (f"{value.value}", value.unit or "", text and f"({text})")))
