"""Events as lines for a terminal. Text from outside is escaped, so that it cannot control the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from store.streams.events import rfc3339
from store.streams.messages import (
    CommandEvent,
    DeviceMessage,
    Message,
    Note,
    SessionEvent,
    read_device_message,
    read_message,
)

from .times import Times, epoch_ms_of

STYLES = {
    "queued": "cyan",
    "sent": "blue",
    "responded": "green",
    "delivered": "green",
    "failed": "red",
    "timeout": "yellow",
    "tainted": "yellow",
    "ready": "green",
    "closed": "magenta",
}
INDENT = 4
"""Blanks before what a line has no room for."""
LONGEST = 160
"""Characters that a line shows of a text that is not known to have a limit."""
WHOLE = 1 << 16
"""Characters of an answer or a detail: more than any of them has."""
UNLIMITED = 100_000
"""Columns of an output that is no terminal."""
FIELDS_SHOWN = 16
"""Fields of an unreadable entry that a line shows."""
LAST_MOMENT = 10**14 - 1
"""Epoch ms of the last time that is shown as one."""

Fields = Mapping[str, str]


class Output(Console):
    """Standard output. A failed write raises; rich would end the process.

    What is no terminal has no width, so that nothing is folded or cut there, unless ``COLUMNS`` gives one.
    """

    def __init__(self) -> None:
        super().__init__(highlight=False)
        if not self.is_terminal and not os.environ.get("COLUMNS"):
            self.width = UNLIMITED

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled: rich would exit with its own status."""
        raise


def printable(text: str, limit: int = LONGEST) -> str:
    """`text` on one line, with unprintable characters escaped, cut at `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def styled(state: str) -> Text:
    """A state in its colour."""
    return Text(printable(state, 32), STYLES.get(state, ""))


def read(fields: Fields) -> Message | DeviceMessage | None:
    """The message that an entry of a stream holds; None for an unknown kind or a field of a wrong form."""
    try:
        return read_device_message(fields) if "kind" not in fields else read_message(fields)
    except ValueError:
        return None


def line(fields: Fields, times: Times | None = None) -> Text:
    """One event or note, or one message of a device, as one line.

    Args:
        times: shows dates and times; without it only the time of day is shown, in UTC.
    """
    message = read(fields)
    if message is None:
        return Text("  ").join([Text("?", "bold"), unread(fields)])
    if isinstance(message, DeviceMessage):
        return _device_message(message, times)
    at = time_of(message.at, times)
    parts = [Text(at, "dim"), Text(f"{message.kind:<8}", "bold"), Text(_subject(message))]
    if message.state:
        parts.append(_move(message))
    return Text("  ").join([*parts, *_facts(message)])


def unread(fields: Fields) -> Text:
    """The first fields of an entry that is no message."""
    shown = islice(fields.items(), FIELDS_SHOWN)
    return Text(" ".join(f"{printable(name, 32)}={printable(value)}" for name, value in shown))


def _device_message(message: DeviceMessage, times: Times | None) -> Text:
    """A message: when it was read, its device, its codec and type, when the device received it, its text."""
    if message.text is None:
        said = f"hex {printable(message.hex or '', WHOLE)}"
    else:
        said = f'"{printable(message.text, WHOLE)}"'
    at = _moment(message.at)
    parts = [
        Text(time_of(_moment(message.received_at), times), "dim"),
        Text(printable(message.imei, 64)),
        Text(f"codec {printable(message.codec, 2)} type {printable(message.type, 2)}"),
        *([Text(f"at={at}", "dim")] if at else ()),
        Text(said, "italic"),
    ]
    return Text("  ").join(parts)


def _moment(epoch_ms: int | None) -> str:
    """A time of a stream in RFC 3339; empty if there is none, or none that a calendar has."""
    return "" if epoch_ms is None or epoch_ms > LAST_MOMENT else rfc3339(epoch_ms)


def _facts(message: Message) -> Iterator[Text]:
    reason = "" if isinstance(message, Note) else message.reason
    detail = "" if isinstance(message, SessionEvent) else message.detail
    for name, text in (("reason", reason), ("detail", detail)):
        if text:
            yield Text(f"{name}={printable(text, WHOLE)}")
    if isinstance(message, SessionEvent):
        return
    if isinstance(message, CommandEvent) and message.terminal and message.delivery:
        yield Text(printable(message.delivery, 32), "bold")
    if message.rtt_ms is not None:
        yield Text(f"{message.rtt_ms} ms", "dim")
    if answer := answer_text(message):
        yield Text(answer, "italic")


def answer_text(message: CommandEvent | Note) -> str:
    """The answer of the device: quoted text, or hex if it is not text; empty if there is none."""
    if message.response:
        quoted = f'"{printable(message.response, WHOLE)}"'
    elif message.response_hex:
        quoted = f"hex {printable(message.response_hex, WHOLE)}"
    else:
        return ""
    return quoted + " (cut)" * message.truncated


def outcome(event: CommandEvent) -> Text:
    """Why a command ended, and what the device said."""
    words = [event.reason, event.delivery if event.reason else "", event.detail]
    texts = [Text(printable(word, WHOLE)) for word in words if word]
    if answer := answer_text(event):
        texts.append(Text(answer, "italic"))
    return Text("  ").join(texts)


def as_json(entry_id: str, fields: Fields) -> str:
    """An entry as one line of ASCII JSON: its fields, and its id in the stream as ``id``."""
    return json.dumps({"id": entry_id, **fields})


def show(console: Console, entry_id: str, fields: Fields, *, raw: bool, times: Times | None = None) -> None:
    """Print one entry, as JSON if `raw`. It is flushed at once, because a pipe may be read live."""
    if raw:
        console.file.write(as_json(entry_id, fields) + "\n")
    else:
        print_line(console, line(fields, times))
    console.file.flush()


def print_line(console: Console, text: Text) -> None:
    """Print `text`; what a terminal has no room for stands below, folded between words and indented."""
    too_long = console.is_terminal and text.cell_len > console.width
    first, *more = text.wrap(console, console.width) if too_long else [text]
    console.print(first, soft_wrap=True)
    if more:
        rest = text[len(first) :]
        rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
        console.print(Padding(rest, (0, 0, 0, INDENT), expand=False), overflow="fold")


def time_of(at: str, times: Times | None = None) -> str:
    """An RFC 3339 time as `times` shows it; without it, the time of day: hours to milliseconds."""
    if times is not None and (epoch_ms := epoch_ms_of(at)) is not None:
        return times.show(epoch_ms, precise=True)
    return printable(at.partition("T")[2].rstrip("Z") or "-", 15)


def _subject(message: Message) -> str:
    subject = message.session_id if isinstance(message, SessionEvent) else message.command_id
    words = [printable(name, 64) for name in (message.imei, subject) if name]
    return " ".join([*words, printable(message.note, 32)] if isinstance(message, Note) else words)


def _move(message: Message) -> Text:
    if isinstance(message, Note):
        return Text("(").append_text(styled(message.state)).append(")")
    if not message.prev:
        return styled(message.state)
    return styled(message.prev).append(" → ").append_text(styled(message.state))
