"""``telgw dead-letters``: entries that became no commands, why, and from whom; and how they are put back."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.text import Text

from store.keys import Keys
from store.streams.dead_letters import DeadLetters, Requeue, Requeued
from store.streams.producer import LogEntry, NotPublished, Producer

from . import render, stderr
from .ending import awaiting
from .event_loop import complete
from .ids import DeadLetterId
from .listing import Column, Row, print_listing
from .parameters import Duration, Moment
from .stream_options import Where, with_streams
from .streams import server
from .times import Times, duration

DONE, REFUSED, NONE = 0, 1, 4
COLUMNS = (
    *(Column("age", right=True), Column("id"), Column("IMEI"), Column("requested by")),
    *(Column("command", extra=True), Column("at", extra=True)),
)
WHY_NOT = {
    Requeue.INVALID: "Its entry was no valid command, and its text is not kept: correct the producer, and let"
    " it publish the command again.",
    Requeue.SENT: "The device may have obeyed already. If it is to be repeated all the same, use telgw send.",
    Requeue.NOT_KEPT: "Its text is not kept: that is for 24 hours at most, and only if nothing but the fault"
    " has ended the command. Let the producer publish the command again, or use telgw send.",
    Requeue.KNOWN: "Another entry of the same command was processed after it: telgw history shows what became"
    " of it.",
    Requeue.EXPIRED: "The time of the command is over: --expires-in 5m gives it more.",
    Requeue.NOT_CONNECTED: "No living gateway holds the device: try again when it is connected.",
}
"""Why the command of a dead letter is not put back, and what to do instead."""


@click.command(name="dead-letters", short_help="Show entries that became no commands, and put them back.")
@click.option("--show", metavar="ID", type=DeadLetterId(), help="Show all that is kept of this one.")
@click.option(
    "--requeue",
    metavar="ID",
    type=DeadLetterId(),
    multiple=True,
    help="Put the command of this one back, under a new id, and delete it; may be given more than once.",
)
@click.option(
    "--expires-in",
    type=Duration(0.1, 86400),
    help="With --requeue: not sent later than this from now.  [default: as the producer said]",
)
@click.option(
    "--drop",
    metavar="ID",
    type=DeadLetterId(),
    multiple=True,
    help="Delete this one; may be given more than once.",
)
@click.option("--since", type=Moment(), default=0, show_default="all", help="Only what came since: 1h.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="The most; newest first."
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "raw", is_flag=True, help="One JSON object per dead letter.")
@with_streams
def command(
    where: Where,
    show: str | None,
    requeue: tuple[str, ...],
    expires_in: float | None,
    drop: tuple[str, ...],
    since: int,
    limit: int,
    utc: bool,
    raw: bool,
) -> int:
    """Show the entries of outbound streams that gateways could not read or process as commands.

    A dead letter holds no text of a command. If a valid command ended only because Redis refused to store it
    (`internal_error`), and it was not sent, its text is kept apart for 24 hours, and --requeue puts it back
    when the cause is mended: on the stream of the gateway that holds the device, as a new command whose
    `retry_of` names the old one. The same command is never put back twice. Any other entry needs its
    producer: correct it, and let it publish the command again. Dead letters are deleted after --retention.

    Exit status: 0 found, put back, or deleted; 1 not put back, and kept; 2 wrong use, or Redis cannot be
    used; 3 it is unknown whether it was put back; 4 there is none.
    """
    if sum(map(bool, (show, requeue, drop))) > 1:
        raise click.UsageError("Give one of --show, --requeue and --drop.")
    if expires_in is not None and not requeue:
        raise click.UsageError("--expires-in needs --requeue.")
    if requeue:
        return complete(_requeue(where, dict.fromkeys(requeue), expires_in, raw))
    if drop:
        return complete(_drop(where, dict.fromkeys(drop), raw))
    return complete(_letters(where, show, since, limit, Times(utc), raw))


async def _letters(where: Where, show: str | None, since: int, limit: int, times: Times, raw: bool) -> int:
    keys = Keys(where.key_prefix)
    found: list[LogEntry] = []
    async with server(where, "dead-letters") as client:
        now_ms = await Producer(client, keys).now_ms()
        letters = DeadLetters(client, keys)
        async for entry in letters.newest(show or f"{since}-0", show or "+"):
            found.append(entry)
            if len(found) == limit:
                break
    if not found:
        stderr.fault("There is no such dead letter.")
        return NONE
    _print(found, show is not None, times, raw, now_ms)
    return DONE


def _print(found: Sequence[LogEntry], whole: bool, times: Times, raw: bool, now_ms: int) -> None:
    console = render.Output()
    if raw:
        for entry_id, fields in found:
            click.echo(json.dumps({"id": entry_id, **fields}))
    elif whole:
        [(entry_id, fields)] = found
        for name, text in (("id", entry_id), ("at", times.show(_at_ms(entry_id))), *fields.items()):
            head = f"{render.printable(name, 64):<20}"
            console.print(Text.assemble((head, "bold"), render.printable(text, render.WHOLE)), soft_wrap=True)
    else:
        print_listing(console, COLUMNS, [_row(entry, times, now_ms) for entry in found], "error")


def _row(entry: LogEntry, times: Times, now_ms: int) -> Row:
    entry_id, fields = entry
    at_ms = _at_ms(entry_id)
    texts = (
        *(duration(now_ms - at_ms), entry_id, fields.get("imei", ""), fields.get("requested_by", "")),
        *(fields.get("command_id", ""), times.show(at_ms)),
    )
    cells = [Text(render.printable(text, 64)) for text in texts]
    tail = Text(render.printable(fields.get("error", ""), render.WHOLE))
    if (left := _kept_until(fields) - now_ms) > 0:
        tail.append(f"  --requeue puts it back, for {duration(left)}", "dim")
    return Row(cells, tail)


def _at_ms(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


def _kept_until(fields: dict[str, str]) -> int:
    """Until when, in epoch ms, the text of the command is kept; 0 if it is not."""
    text = fields.get("kept_until", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


async def _requeue(where: Where, letter_ids: dict[str, None], expires_in: float | None, raw: bool) -> int:
    keys = Keys(where.key_prefix)
    results: list[Requeue] = []
    async with server(where, "dead-letters") as client:
        letters = DeadLetters(client, keys)
        expires_at = None
        if expires_in is not None:
            expires_at = await Producer(client, keys).now_ms() + round(expires_in * 1000)
        for letter_id in letter_ids:
            advice = "Try it again: a command is never put back twice."
            with awaiting(f"--requeue {letter_id}", unless=NotPublished, advice=advice):
                done = await letters.requeue(letter_id, expires_at)
            results.append(done.result)
            _say(letter_id, done, raw)
    if any(result in WHY_NOT for result in results):
        return REFUSED
    return NONE if Requeue.NO_LETTER in results else DONE


def _say(letter_id: str, done: Requeued, raw: bool) -> None:
    if done.result is Requeue.NO_LETTER:
        stderr.fault(f"There is no dead letter {letter_id}.")
    elif done.result is not Requeue.OK:
        stderr.fault(f"{letter_id} is not put back. {WHY_NOT[done.result]}")
    elif raw:
        place = {"instance_id": done.instance_id, "outbound_id": done.outbound_id}
        click.echo(json.dumps({"id": letter_id, "requeued": True, "command_id": done.command_id, **place}))
    else:
        click.echo(
            f"Put back {letter_id} for {render.printable(done.instance_id, 64)}: "
            f"telgw history {done.command_id}"
        )


async def _drop(where: Where, letter_ids: dict[str, None], raw: bool) -> int:
    gone = 0
    async with server(where, "dead-letters") as client:
        letters = DeadLetters(client, Keys(where.key_prefix))
        for letter_id in letter_ids:
            if not await letters.drop(letter_id):
                stderr.fault(f"There is no dead letter {letter_id}.")
                continue
            gone += 1
            click.echo(json.dumps({"id": letter_id, "dropped": True}) if raw else f"Deleted {letter_id}.")
    return DONE if gone == len(letter_ids) else NONE
