"""What is the answer to a command, and what is not."""

from __future__ import annotations

import pytest

from tests.transport.desk import OTHER_IMEI, Desk
from transport.commands.notes import BACKLOG, UNSOLICITED_LIMIT
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12, CODEC_14


def _unsolicited(desk: Desk, message: Message, **fields: str) -> None:
    """`message` neither frees the slot nor says anything about the command that is out."""
    link = desk.connect()
    desk.ask(**fields)
    desk.ask("next")
    desk.ledger.settle()
    desk.dispatcher.answer(link, message)
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("sent maybe_sent", ["c-1"])


def test_an_answer_in_another_codec_is_unsolicited(desk: Desk) -> None:
    _unsolicited(desk, Message(CODEC_14, TYPE_ANSWER, b"hello", "352093081452251"))
    assert desk.notes() == [("unsolicited_response", "", "hello")]


def test_a_codec_12_answer_to_a_codec_14_command_is_unsolicited(desk: Desk) -> None:
    _unsolicited(desk, Message(CODEC_12, TYPE_ANSWER, b"hello"), codec="14")
    assert desk.notes() == [("unsolicited_response", "", "hello")]


def test_a_codec_14_answer_with_another_imei_is_unsolicited(desk: Desk) -> None:
    _unsolicited(desk, Message(CODEC_14, TYPE_ANSWER, b"hello", OTHER_IMEI), codec="14")
    assert desk.notes() == [("unsolicited_response", "", "hello")]


def test_a_message_of_another_type_is_unsolicited(desk: Desk) -> None:
    _unsolicited(desk, Message(CODEC_12, 0x0D, b"\xff\xd8"))
    [note] = desk.ledger.notes()
    assert (note.note, note.response, note.response_hex) == ("unsolicited_response", None, "ffd8")


def test_an_empty_codec_12_frame_is_a_ping_and_only_counted(desk: Desk) -> None:
    _unsolicited(desk, Message(CODEC_12, TYPE_ANSWER, b""))
    assert desk.notes() == []
    assert desk.metrics.registry.get_sample_value("teltonika_pings_total") == 1


def test_an_unsolicited_answer_does_not_clear_a_taint(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(codec="14")
    desk.ask("next")
    desk.ledger.settle()
    desk.at(30)
    desk.answer(link, "codec 12")
    desk.ledger.settle()
    assert (link.tainted, link.texts) == (True, ["c-1"])


def test_a_second_answer_is_unsolicited(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link, "first")
    desk.answer(link, "second")
    desk.ledger.settle()
    assert desk.ledger.events("c-1")[-1].response == "first"
    assert desk.notes() == [("unsolicited_response", "", "second")]


def test_an_answer_before_any_command_is_unsolicited(desk: Desk) -> None:
    desk.answer(desk.connect(), "hello")
    desk.ledger.settle()
    assert desk.notes() == [("unsolicited_response", "", "hello")]


def test_an_answer_while_sent_is_committed_is_unsolicited(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.answer(link, "too early")
    desk.ledger.settle()
    assert desk.life()[-1] == "sent maybe_sent"
    assert desk.notes() == [("unsolicited_response", "", "too early")]


def test_a_codec_14_answer_with_the_devices_imei_is_the_answer(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(codec="14")
    desk.ledger.settle()
    desk.answer(link, "", codec=CODEC_14)
    desk.ledger.settle()
    assert desk.life()[-1] == "responded answered"
    assert desk.ledger.events("c-1")[-1].response == ""


def test_a_nack_fails_the_command_and_frees_the_slot(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(codec="14")
    desk.ask("next", codec="14")
    desk.ledger.settle()
    desk.nack(link)
    desk.ledger.settle()
    assert desk.life()[-1] == "failed nack answered"
    assert link.texts == ["c-1", "next"]


def test_a_late_nack_clears_the_taint(desk: Desk) -> None:
    link = desk.connect()
    desk.ask(codec="14")
    desk.ledger.settle()
    desk.at(30)
    desk.nack(link)
    desk.ledger.settle()
    assert not link.tainted
    assert [note[:2] for note in desk.notes()] == [("late_response", "c-1")]


@pytest.mark.parametrize(
    ("answer", "text", "hexadecimal", "truncated"),
    [
        (b"line\r\n\tnext", "line\r\n\tnext", None, False),
        (b"caf\xc3\xa9", None, "636166c3a9", False),
        (b"\x00", None, "00", False),
        (b"x" * 8192, "x" * 8192, None, False),
        (b"x" * 8193, "x" * 8192, None, True),
        (b"\xff" * 9000, None, "ff" * 8192, True),
    ],
)
def test_an_answer_is_published_as_text_or_hex_and_cut(
    desk: Desk, answer: bytes, text: str | None, hexadecimal: str | None, truncated: bool
) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.answer(link, answer)
    desk.ledger.settle()
    event = desk.ledger.events("c-1")[-1]
    assert (event.response, event.response_hex, event.truncated) == (text, hexadecimal, truncated)


# A device that talks unasked


def _counted(desk: Desk, name: str = "command_notes_total") -> float | None:
    labels = {"note": "unsolicited_response"}
    return desk.metrics.registry.get_sample_value(f"teltonika_{name}", labels)


def test_thirty_unsolicited_answers_a_minute_are_published(desk: Desk) -> None:
    talker, other = desk.connect(), desk.connect(OTHER_IMEI)
    told = {0: 10, 40: 20, 59.9: 0, 60: 10, 99.9: 0, 100: 20, 300: 30}
    for second in told:
        desk.at(second)
        for _ in range(UNSOLICITED_LIMIT + 5 if second else 10):
            desk.answer(talker, str(second))
    desk.answer(other, "me too")
    desk.ledger.settle()
    texts = [text for _, _, text in desk.notes()]
    assert {second: texts.count(str(second)) for second in told} == told
    assert texts[-1] == "me too"
    assert _counted(desk) == sum(told.values()) + 1
    assert _counted(desk, "command_notes_suppressed_total") == 6 * 35 + 10 - sum(told.values())


def test_with_a_full_ledger_queue_unsolicited_are_only_counted(desk: Desk) -> None:
    link = desk.connect()
    for number in range(BACKLOG + 1):
        desk.ask("!" * number)  # entries without a readable id
    desk.answer(link, "hello")
    assert desk.ledger.depth == BACKLOG + 1
    assert _counted(desk, "command_notes_suppressed_total") == 1
    desk.ledger.settle(1)
    desk.answer(link, "there is room")
    desk.ledger.settle()
    assert desk.notes() == [("unsolicited_response", "", "there is room")]
