"""Events and notes from the entries of the log."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Any

from fsm.events import CommandEvent, Note, SessionEvent
from fsm.outbound import ECHOED
from store.streams import messages
from store.streams.messages import Message, RawEntry, read_message

Event = CommandEvent | Note | SessionEvent

_EVENTS: dict[type[Message], type[Event]] = {
    messages.CommandEvent: CommandEvent,
    messages.Note: Note,
    messages.SessionEvent: SessionEvent,
}
_NAMES = {cls: [one.name for one in fields_of(cls) if one.name != "echo"] for cls in _EVENTS.values()}


def event_of(message: Message) -> Event:
    """Return the event or note that a message tells of, without the stamps of the store."""
    cls = _EVENTS[type(message)]
    values: dict[str, Any] = {name: getattr(message, name) for name in _NAMES[cls]}
    if not isinstance(message, messages.SessionEvent):
        values["echo"] = tuple((name, text) for name in ECHOED if (text := getattr(message, name)))
    return cls(**values)


def read_entry(entry: RawEntry) -> Event | None:
    """Return the event or note that an entry of the log holds; None for a kind this version does not know.

    Raises:
        ValueError: as `read_message` does.
    """
    message = read_message(entry)
    return None if message is None else event_of(message)
