"""``telgw trace``: the bytes of one device as they come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import click
from rich.padding import Padding
from rich.text import Text

from fsm.trace import RECEIVED
from store.client.errors import StoreError
from store.client.numbers import whole
from store.fleet.devices import DeviceReader
from store.fleet.trace import LEASE, ask, leave
from store.keys import Keys
from store.streams.producer import Producer

from . import render, stderr
from .event_loop import complete
from .ids import Imei
from .parameters import Duration
from .stream_options import Where, with_streams
from .streams import server
from .times import Times
from .traffic import Traffic

DONE = 0
INDENT = 4


@click.command(short_help="Show the bytes of a device as they come and go, decoded frame by frame.")
@click.argument("imei", type=Imei())
@click.option(
    "--for", "within", type=Duration(1.0, 86400.0), help="End after this time.  [default: at Ctrl-C]"
)
@click.option(
    "--hex/--no-hex", "shows_hex", default=True, show_default=True, help="Show the bytes themselves."
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per read or write.")
@with_streams
def command(where: Where, imei: str, within: float | None, shows_hex: bool, utc: bool, raw: bool) -> int:
    """Show what the device IMEI sends and what is written to it, until Ctrl-C.

    The gateway that holds the device publishes its bytes from two seconds after the start of this verb until
    15 seconds after its end. The text of commands is masked. The user of Redis must be allowed to write the
    key devices:traced.

    Exit status: 0 the time of --for is over; 2 wrong use, or Redis cannot be used; 130 ended by Ctrl-C.
    """
    return complete(_Trace(where, imei, Times(utc), shows_hex, raw).run(within))


class _Trace:
    """One run of the verb."""

    def __init__(self, where: Where, imei: str, times: Times, shows_hex: bool, raw: bool) -> None:
        self._where = where
        self._keys = Keys(where.key_prefix)
        self._imei = imei
        self._times = times
        self._shows_hex = shows_hex
        self._raw = raw
        self._console = render.Output()
        self._traffic: dict[str, Traffic] = {}
        self._number = 0

    async def run(self, within: float | None) -> int:
        """Print until the time is over; the exit status."""
        async with server(self._where, "trace") as client:
            streams, stream = Producer(client, self._keys), self._keys.trace(self._imei)
            tail = await streams.tail(stream)
            async with self._asking(client, streams):
                await self._announce(client)
                with suppress(TimeoutError):
                    async with asyncio.timeout(within):
                        async for _, fields in streams.follow(tail, stream=stream):
                            self._print(fields)
        return DONE

    @asynccontextmanager
    async def _asking(self, client: Any, streams: Producer) -> AsyncIterator[None]:
        """Within the block gateways are asked to trace the device."""
        await ask(client, self._keys, self._imei, await streams.now_ms())
        renewal = asyncio.create_task(self._renew(client, streams))
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(StoreError):
                await leave(client, self._keys, self._imei)

    async def _renew(self, client: Any, streams: Producer) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with suppress(StoreError):
                await ask(client, self._keys, self._imei, await streams.now_ms())

    async def _announce(self, client: Any) -> None:
        found = await DeviceReader(client, self._keys).read([self._imei])
        online = bool(found) and found[0].online
        holder = f"at {render.printable(found[0].instance_id, 64)}" if online else "that is not connected now"
        stderr.remark(f"Tracing the device {self._imei} {holder}; Ctrl-C ends it.")

    def _print(self, fields: dict[str, str]) -> None:
        try:
            data = bytes.fromhex(fields["hex"])
        except (KeyError, ValueError):
            return  # not an entry of a gateway
        session, direction = fields.get("session_id", ""), fields.get("dir", "")
        number = whole(fields.get("n", ""), 0)
        left_out = max(0, number - self._number - 1) if self._number else 0
        self._number = number
        sentences = self._traffic.setdefault(session, Traffic()).explain(direction, data)
        if self._raw:
            click.echo(json.dumps({**fields, "decoded": sentences, "left_out": left_out}))
        else:
            if left_out:
                self._console.print(Text(f"({left_out} reads or writes were left out)", "yellow"))
            self._print_chunk(fields, direction, data, sentences)
        self._console.file.flush()

    def _print_chunk(self, fields: dict[str, str], direction: str, data: bytes, sentences: list[str]) -> None:
        at = self._times.show(whole(fields.get("at", ""), 0), precise=True)
        arrow, style = ("<-", "green") if direction == RECEIVED else ("->", "cyan")
        said = "; ".join(render.printable(sentence, render.WHOLE) for sentence in sentences)
        line = Text.assemble((at, "dim"), f"  {arrow} ", (said or f"{len(data)} bytes", style))
        render.print_line(self._console, line)
        if self._shows_hex:
            shown = Padding(Text(data.hex(), "dim"), (0, 0, 0, INDENT), expand=False)
            self._console.print(shown, overflow="fold")
