"""The journey of one command as a Mermaid sequence diagram, from its events and notes.

It has the producer, each gateway that held the command, and the device, and says when each step was. Texts
from outside are escaped: they cannot add a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fsm.command import DELIVERED, QUEUED, RESPONDED, SENT
from fsm.reasons import LATE_RESPONSE, MOVED
from store.streams.messages import CommandEvent, Message, Note

from .render import printable
from .times import epoch_ms_of

LONGEST, SHORT = 48, 20
"""Characters of a text that a diagram shows: in a picture, and in a terminal of 80 columns."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:_/()=+-")

PRODUCER, DEVICE = "P", "T"


def sequence(messages: Sequence[Message], longest: int = LONGEST) -> str:
    """The diagram of the events and notes of one command, in their order; answers are cut."""
    events = [message for message in messages if isinstance(message, CommandEvent | Note)]
    gateways = list(dict.fromkeys(event.instance_id for event in events if event.instance_id))
    names = {instance_id: f"G{number}" for number, instance_id in enumerate(gateways, 1)}
    who = next((event.requested_by for event in events if event.requested_by), "") or "producer"
    imei = next((event.imei for event in events if event.imei), "")
    lines = [
        "sequenceDiagram",
        f"  participant {PRODUCER} as {escaped(who)}",
        *(f"  participant {name} as {escaped(instance_id)}" for instance_id, name in names.items()),
        f"  participant {DEVICE} as device {escaped(imei)}",
    ]
    start = next((moment for event in events if (moment := epoch_ms_of(event.at)) is not None), 0)
    for event in events:
        gateway = names.get(event.instance_id, PRODUCER)
        lines += [f"  {step}" for step in _steps(event, gateway, _after(event, start), longest)]
    return "\n".join(lines) + "\n"


def _after(event: CommandEvent | Note, start: int) -> str:
    moment = epoch_ms_of(event.at)
    return "" if moment is None else f" +{moment - start} ms"


def _steps(event: CommandEvent | Note, gateway: str, after: str, longest: int) -> Iterable[str]:
    if isinstance(event, Note):
        return _steps_of_note(event, gateway, after, longest)
    said = f"{event.seq} {escaped(event.state)}{after}"
    told = f"{gateway}-->>{PRODUCER}: {said}"
    if event.state == QUEUED:
        return (f"{PRODUCER}->>{gateway}: command", told)
    if event.state == SENT:
        return (told, f"{gateway}->>{DEVICE}: codec {escaped(event.codec)} frame")
    if event.state == RESPONDED:
        return (f"{DEVICE}-->>{gateway}: {_answer(event, longest)}", told)
    if event.state == DELIVERED:
        return (f"{DEVICE}-->>{gateway}: TCP acknowledged all", told)
    why = " ".join(escaped(word) for word in (event.reason, event.delivery) if word)
    return (f"Note over {gateway}: {why}", told) if why else (told,)


def _steps_of_note(note: Note, gateway: str, after: str, longest: int) -> Iterable[str]:
    name = escaped(note.note)
    if note.note == LATE_RESPONSE:
        return (f"{DEVICE}-->>{gateway}: {_answer(note, longest)}", f"{gateway}-->>{PRODUCER}: {name}{after}")
    detail = f": {escaped(note.detail)}" if note.detail else ""
    if note.note == MOVED:
        return (f"Note over {gateway}: handed over{detail}{after}",)
    return (f"{gateway}-->>{PRODUCER}: {name}{detail}{after}",)


def _answer(event: CommandEvent | Note, longest: int) -> str:
    if event.response:
        return escaped(event.response, longest)
    return f"hex {escaped(event.response_hex, longest)}" if event.response_hex else "answer"


def escaped(text: str, longest: int = LONGEST) -> str:
    """Text as a diagram shows it: on one line, cut; a character with a meaning in Mermaid as its number."""
    shown = printable(text, longest).strip().replace("…", "...") or "-"
    return "".join(char if char in _PLAIN else f"#{ord(char)};" for char in shown)
