"""Events as lines for a terminal. Text from outside is escaped, so that it cannot control the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from store.streams.events import rfc3339

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
LONGEST = 160
"""Characters of an answer that a line shows at most."""

Fields = Mapping[str, str]


class Output(Console):
    """Standard output. A failed write raises; rich would end the process."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

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


def line(fields: Fields) -> Text:
    """One event or note, or one message of a device, as one line."""
    if "type" in fields and "kind" not in fields:
        return _message(fields)
    parts = [Text(time_of(fields), "dim"), Text(f"{_kind(fields):<8}", "bold"), Text(_subject(fields))]
    if fields.get("state"):
        parts.append(_move(fields))
    parts += [Text(f"{name}={printable(fields[name])}") for name in ("reason", "detail") if fields.get(name)]
    if fields.get("terminal") == "1" and fields.get("delivery"):
        parts.append(Text(printable(fields["delivery"], 32), "bold"))
    if fields.get("rtt_ms"):
        parts.append(Text(f"{printable(fields['rtt_ms'], 12)} ms", "dim"))
    if answer := answer_text(fields):
        parts.append(Text(answer, "italic"))
    return Text("  ").join(parts)


def _message(fields: Fields) -> Text:
    """A message: when it was read, its device, its codec and type, when the device received it, its text."""
    text = fields.get("text")
    said = f"hex {printable(fields.get('hex', ''))}" if text is None else f'"{printable(text)}"'
    at = _moment(fields.get("at", ""))
    parts = [
        Text(_moment(fields.get("received_at", "")).partition("T")[2].rstrip("Z") or "-", "dim"),
        Text(printable(fields.get("imei", "?"), 64)),
        Text(f"codec {printable(fields.get('codec', '?'), 2)} type {printable(fields['type'], 2)}"),
        *([Text(f"at={at}", "dim")] if at else ()),
        Text(said, "italic"),
    ]
    return Text("  ").join(parts)


def _moment(epoch_ms: str) -> str:
    """A time of a stream in RFC 3339; empty if the field is not a time."""
    return rfc3339(int(epoch_ms)) if re.fullmatch(r"[0-9]{1,14}", epoch_ms) else ""


def answer_text(fields: Fields) -> str:
    """The answer of the device in `fields`: quoted text, or hex if it is not text; empty if there is none."""
    if fields.get("response"):
        quoted = f'"{printable(fields["response"])}"'
    elif fields.get("response_hex"):
        quoted = f"hex {printable(fields['response_hex'])}"
    else:
        return ""
    return quoted + " (cut)" * (fields.get("truncated") == "1")


def as_json(entry_id: str, fields: Fields) -> str:
    """An entry as one line of ASCII JSON: its fields, and its id in the stream as ``id``."""
    return json.dumps({"id": entry_id, **fields})


def show(console: Console, entry_id: str, fields: Fields, *, raw: bool) -> None:
    """Print one entry, as JSON if `raw`. It is flushed at once, because a pipe may be read live."""
    if raw:
        console.file.write(as_json(entry_id, fields) + "\n")
    else:
        console.print(line(fields), soft_wrap=True)
    console.file.flush()


def time_of(fields: Fields) -> str:
    """When it happened, UTC: hours to milliseconds."""
    return printable(fields.get("at", "").partition("T")[2].rstrip("Z") or "-", 15)


def _kind(fields: Fields) -> str:
    return printable(fields.get("kind", "?"), 8)


def _subject(fields: Fields) -> str:
    names = ("imei", "session_id") if fields.get("kind") == "session" else ("imei", "command_id")
    subject = " ".join(printable(fields[name], 64) for name in names if fields.get(name))
    note = fields.get("note")
    return f"{subject} {printable(note, 32)}" if note else subject


def _move(fields: Fields) -> Text:
    if fields.get("kind") == "note":
        return Text("(").append_text(styled(fields["state"])).append(")")
    if not fields.get("prev"):
        return styled(fields["state"])
    return styled(fields["prev"]).append(" → ").append_text(styled(fields["state"]))
