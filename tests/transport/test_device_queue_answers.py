"""What is the answer to a command, and what is not."""

from __future__ import annotations

import pytest

from tests.transport.command_rig import OTHER_IMEI, CommandRig
from transport.commands.notes import BACKLOG, UNSOLICITED_LIMIT
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12, CODEC_14


def _unsolicited(commands: CommandRig, message: Message, **fields: str) -> None:
    """`message` neither frees the slot nor says anything about the command that is out."""
    link = commands.connect()
    commands.ask(**fields)
    commands.ask("next")
    commands.ledger.commit()
    commands.dispatcher.answer(link, message)
    commands.ledger.commit()
    assert (commands.life()[-1], link.texts) == ("sent maybe_sent", ["c-1"])


def test_an_answer_in_another_codec_is_unsolicited(commands: CommandRig) -> None:
    _unsolicited(commands, Message(CODEC_14, TYPE_ANSWER, b"hello", "352093081452251"))
    assert commands.notes() == [("unsolicited_response", "", "hello")]


def test_a_codec_12_answer_to_a_codec_14_command_is_unsolicited(commands: CommandRig) -> None:
    _unsolicited(commands, Message(CODEC_12, TYPE_ANSWER, b"hello"), codec="14")
    assert commands.notes() == [("unsolicited_response", "", "hello")]


def test_a_codec_14_answer_with_another_imei_is_unsolicited(commands: CommandRig) -> None:
    _unsolicited(commands, Message(CODEC_14, TYPE_ANSWER, b"hello", OTHER_IMEI), codec="14")
    assert commands.notes() == [("unsolicited_response", "", "hello")]


def test_a_message_of_another_type_is_unsolicited(commands: CommandRig) -> None:
    _unsolicited(commands, Message(CODEC_12, 0x0D, b"\xff\xd8"))
    [note] = commands.ledger.notes()
    assert (note.note, note.response, note.response_hex) == ("unsolicited_response", None, "ffd8")


def test_an_empty_codec_12_frame_is_a_ping_and_only_counted(commands: CommandRig) -> None:
    _unsolicited(commands, Message(CODEC_12, TYPE_ANSWER, b""))
    assert commands.notes() == []
    assert commands.metrics.registry.get_sample_value("teltonika_pings_total") == 1


def test_an_unsolicited_answer_does_not_clear_a_taint(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(codec="14")
    commands.ask("next")
    commands.ledger.commit()
    commands.at(30)
    commands.answer(link, "codec 12")
    commands.ledger.commit()
    assert (link.tainted, link.texts) == (True, ["c-1"])


def test_a_second_answer_is_unsolicited(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link, "first")
    commands.answer(link, "second")
    commands.ledger.commit()
    assert commands.ledger.events("c-1")[-1].response == "first"
    assert commands.notes() == [("unsolicited_response", "", "second")]


def test_an_answer_before_any_command_is_unsolicited(commands: CommandRig) -> None:
    commands.answer(commands.connect(), "hello")
    commands.ledger.commit()
    assert commands.notes() == [("unsolicited_response", "", "hello")]


def test_an_answer_while_sent_is_committed_is_unsolicited(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.answer(link, "too early")
    commands.ledger.commit()
    assert commands.life()[-1] == "sent maybe_sent"
    assert commands.notes() == [("unsolicited_response", "", "too early")]


def test_a_codec_14_answer_with_the_devices_imei_is_the_answer(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(codec="14")
    commands.ledger.commit()
    commands.answer(link, "", codec=CODEC_14)
    commands.ledger.commit()
    assert commands.life()[-1] == "responded answered"
    assert commands.ledger.events("c-1")[-1].response == ""


def test_a_nack_fails_the_command_and_frees_the_slot(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(codec="14")
    commands.ask("next", codec="14")
    commands.ledger.commit()
    commands.nack(link)
    commands.ledger.commit()
    assert commands.life()[-1] == "failed nack answered"
    assert link.texts == ["c-1", "next"]


def test_a_late_nack_clears_the_taint(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask(codec="14")
    commands.ledger.commit()
    commands.at(30)
    commands.nack(link)
    commands.ledger.commit()
    assert not link.tainted
    assert [note[:2] for note in commands.notes()] == [("late_response", "c-1")]


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
    commands: CommandRig, answer: bytes, text: str | None, hexadecimal: str | None, truncated: bool
) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.answer(link, answer)
    commands.ledger.commit()
    event = commands.ledger.events("c-1")[-1]
    assert (event.response, event.response_hex, event.truncated) == (text, hexadecimal, truncated)


# A device that talks unasked


def _counted(commands: CommandRig, name: str = "command_notes_total") -> float | None:
    labels = {"note": "unsolicited_response"}
    return commands.metrics.registry.get_sample_value(f"teltonika_{name}", labels)


@pytest.mark.parametrize(("message", "kept"), [("x" * 5000, "x" * 1024), ("\x00" * 5000, "00" * 1024)])
def test_of_an_unsolicited_answer_one_kibibyte_is_published(
    commands: CommandRig, message: str, kept: str
) -> None:
    commands.answer(commands.connect(), message)
    commands.ledger.commit()
    [note] = commands.ledger.notes()
    assert (note.response or note.response_hex, note.truncated) == (kept, True)


def test_thirty_unsolicited_answers_a_minute_are_published(commands: CommandRig) -> None:
    talker, other = commands.connect(), commands.connect(OTHER_IMEI)
    told = {0: 10, 40: 20, 59.9: 0, 60: 10, 99.9: 0, 100: 20, 300: 30}
    for second in told:
        commands.at(second)
        for _ in range(UNSOLICITED_LIMIT + 5 if second else 10):
            commands.answer(talker, str(second))
    commands.answer(other, "me too")
    commands.ledger.commit()
    texts = [text for _, _, text in commands.notes()]
    assert {second: texts.count(str(second)) for second in told} == told
    assert texts[-1] == "me too"
    assert _counted(commands) == sum(told.values()) + 1
    assert _counted(commands, "command_notes_suppressed_total") == 6 * 35 + 10 - sum(told.values())


def test_with_a_full_ledger_queue_unsolicited_are_only_counted(commands: CommandRig) -> None:
    link = commands.connect()
    for number in range(BACKLOG + 1):
        commands.ask("!" * number)  # entries without a readable id
    commands.answer(link, "hello")
    assert commands.ledger.depth == BACKLOG + 1
    assert _counted(commands, "command_notes_suppressed_total") == 1
    commands.ledger.commit(1)
    commands.answer(link, "there is room")
    commands.ledger.commit()
    assert commands.notes() == [("unsolicited_response", "", "there is room")]
