"""Messages: what consumers read is what gateways write, whichever library reads or writes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm import events
from fsm.outbound import ECHOED
from store.streams.event_reader import read_entry
from store.streams.events import command_fields, note_fields, session_fields
from store.streams.messages import (
    CommandEvent,
    DeviceMessage,
    Message,
    Note,
    SessionEvent,
    read_device_message,
    read_message,
)
from transport.teltonika.command import Message as FrameMessage
from transport.teltonika.message_json import message_fields

Entry = dict[str, str]

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["null", "0", "true", "undefined"]
)
names = st.text("abcdefgh-.:_0123456789", min_size=1, max_size=20)
numbers = st.integers(0, 2**63)
AT, AGE = "2026-01-02T03:04:05.678Z", ("age_ms", "12")
VALUES = {"str": texts, "int": numbers, "bool": st.booleans(), "int | None": st.none() | numbers}
VALUES |= {"str | None": st.none() | texts}


def values(cls: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Events of a class with any values that its fields can have."""
    echo = st.lists(st.sampled_from(ECHOED), unique=True).flatmap(
        lambda chosen: st.tuples(
            *(st.tuples(st.just(name), names) for name in sorted(chosen, key=ECHOED.index))
        )
    )
    strategies = {name: VALUES.get(kind, texts) for name, kind in cls.__annotations__.items()}
    if "echo" in strategies:
        strategies["echo"] = echo
    return st.builds(cls, **(strategies | given))


def entry(flat: Iterable[str]) -> Entry:
    pairs = iter(flat)
    return dict(zip(pairs, pairs, strict=True))


def written(event: events.CommandEvent | events.Note | events.SessionEvent) -> Entry:
    """The entry of an event, with the stamps that the store adds."""
    if isinstance(event, events.CommandEvent):
        return entry([*command_fields(event), "at", AT, *AGE])
    if isinstance(event, events.Note):
        return entry([*note_fields(event), "at", AT])
    return session_fields(event, 1_767_225_600_042)


logged = st.one_of(values(events.CommandEvent), values(events.Note), values(events.SessionEvent))


@given(logged)
def test_dataclasses_json_and_msgspec_write_the_same_bytes(event: Any) -> None:
    stored = written(event)
    message = read_message(stored)
    assert message is not None
    assert message.to_json(separators=(",", ":"), ensure_ascii=False).encode() == msgspec.json.encode(stored)


@given(logged)
def test_dataclasses_json_and_msgspec_read_the_same_message(event: Any) -> None:
    stored = written(event)
    message = read_message(stored)
    assert message == type(message).from_dict(stored)
    assert message == read_message({name.encode(): text.encode() for name, text in stored.items()})


@given(logged)
def test_an_event_is_read_back_as_it_was_written(event: Any) -> None:
    assert read_entry(written(event)) == event


@given(st.sampled_from([12, 13, 14, 15]), st.binary(max_size=40), st.none() | st.integers(0, 2**32 - 1))
def test_a_device_message_is_read_back_as_it_was_written(codec: int, data: bytes, at: int | None) -> None:
    head = {"imei": "352093081452251", "codec": str(codec), "instance_id": "gw-1"}
    head |= {"session_id": "s1", "received_at": "7"}
    stored = head | entry(message_fields(FrameMessage(codec, 6, data, None, at)))
    message = read_device_message(stored)
    assert message.received_at == 7
    assert message == DeviceMessage.from_dict(stored)
    assert message.to_dict() == stored


@pytest.mark.parametrize("cls", [CommandEvent, Note, SessionEvent])
def test_a_message_has_every_field_of_its_event(cls: type[Message]) -> None:
    event = getattr(events, cls.__name__)
    assert set(event.__annotations__) - {"echo"} <= set(cls.__annotations__)


QUEUED = {
    "kind": "command",
    "command_id": "c",
    "seq": "1",
    "state": "queued",
    "trigger": "accept",
    "terminal": "0",
}


def test_optional_fields_may_be_absent_and_unknown_are_ignored() -> None:
    message = read_message(QUEUED | {"new": "x"})
    assert isinstance(message, CommandEvent)
    assert (message.seq, message.terminal, message.reason, message.age_ms) == (1, False, "", None)


@pytest.mark.parametrize("kind", [{}, {"kind": "alarm"}])
def test_an_unknown_kind_is_no_message(kind: Entry) -> None:
    assert read_message({"command_id": "c"} | kind) is None


@pytest.mark.parametrize("name", ["command_id", "seq", "state", "trigger", "terminal"])
def test_a_message_without_a_required_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        read_message({key: value for key, value in QUEUED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seq", text) for text in ("", "one", "-1", "1.0", "1e3", "01", " 1", "\uff11", "null", "9" * 21)),
        *(("rtt_ms", text) for text in ("", "null", "+1")),
        *(("terminal", text) for text in ("", "true", "2", "yes")),
    ],
)
def test_a_field_of_a_wrong_form_is_refused_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: is not (a number|0 or 1)$"):
        read_message(QUEUED | {name: value})


def test_a_field_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        read_message({b"kind": b"command", b"state": b"\xff"})
