"""Commands to devices whose serial port speaks: their codec, and how far an answer is believed."""

from __future__ import annotations

import pytest

from tests.transport.desk import IMEI, Desk, FakeLink
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12, CODEC_13, CODEC_14, CODEC_15


def say(desk: Desk, link: FakeLink, text: bytes = b"$SENSOR", codec: int = CODEC_12) -> bool:
    """The serial port speaks; whether that was taken for an answer."""
    return desk.dispatcher.answer(link, Message(codec, TYPE_ANSWER, text, timestamp=7))


def speaker(desk: Desk) -> FakeLink:
    """A device that has spoken."""
    link = desk.connect()
    say(desk, link)
    return link


def codecs(desk: Desk, command_id: str = "c-1") -> list[str]:
    return [event.codec for event in desk.ledger.events(command_id)]


def attributions(desk: Desk, command_id: str = "c-1") -> list[str]:
    return [event.attribution for event in desk.ledger.events(command_id)]


# The codec


@pytest.mark.parametrize("spoke", [CODEC_12, CODEC_13, CODEC_15])
def test_a_device_that_has_spoken_gets_commands_as_codec_14(desk: Desk, spoke: int) -> None:
    link = desk.connect()
    say(desk, link, codec=spoke)
    desk.ask()
    desk.ledger.settle()
    assert ([c.codec for c in link.commands], codecs(desk)) == ([CODEC_14], ["14", "14"])


@pytest.mark.parametrize(("asked", "used"), [("12", CODEC_12), ("14", CODEC_14)])
@pytest.mark.parametrize("spoken", [True, False])
def test_the_codec_that_the_producer_asks_for_is_used(
    desk: Desk, asked: str, used: int, spoken: bool
) -> None:
    link = speaker(desk) if spoken else desk.connect()
    desk.ask(codec=asked)
    desk.ledger.settle()
    assert ([c.codec for c in link.commands], codecs(desk)) == ([used], [asked, asked])


@pytest.mark.parametrize(
    "ignored", [Message(CODEC_14, TYPE_ANSWER, b"x", IMEI), Message(12, TYPE_ANSWER, b"")]
)
def test_a_second_codec_14_answer_and_a_ping_show_no_serial_port(desk: Desk, ignored: Message) -> None:
    link = desk.connect()
    desk.dispatcher.answer(link, ignored)
    desk.ask()
    desk.ledger.settle()
    assert [c.codec for c in link.commands] == [CODEC_12]


def test_the_codec_is_chosen_when_the_command_is_sent(desk: Desk) -> None:
    link = desk.connect(ready=False)
    desk.ask()
    desk.ledger.settle()
    say(desk, link)
    desk.ready(link)
    desk.ledger.settle()
    assert codecs(desk) == ["12", "14"]


@pytest.mark.parametrize("fresh", [True, False])
def test_the_mark_in_redis_decides_the_codec_before_sending(desk: Desk, fresh: bool) -> None:
    link = desk.connect()
    desk.ledger.set_serial(IMEI)
    first = desk.add(imei=IMEI, payload="c-1")
    second = desk.add("c-2", imei=IMEI, payload="c-2")
    desk.read(first, second, fresh=fresh)
    desk.ledger.settle()
    assert (codecs(desk), link.texts, link.speaks) == (["12", "14"], ["c-1"], True)
    desk.answer(link, codec=CODEC_14)
    desk.ledger.settle()
    assert (attributions(desk)[-1], codecs(desk, "c-2")[-1], link.texts) == ("certain", "14", ["c-1", "c-2"])
    desk.audit()


def test_a_cancel_comes_before_a_new_choice_of_codec(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.set_serial(IMEI)
    desk.ask()
    desk.cancel()
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("failed cancelled not_sent", [])


def test_a_stop_comes_before_a_new_choice_of_codec(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.set_serial(IMEI)
    desk.ask()
    desk.dispatcher.stop()
    desk.ledger.settle()
    assert (desk.life()[-1], link.texts) == ("failed gateway_shutdown not_sent", [])


def test_a_new_choice_of_codec_waits_for_its_device(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.set_serial(IMEI)
    desk.ask()
    desk.hang_up(link)
    desk.ledger.settle()
    assert desk.life() == ["queued not_sent"]
    again = desk.connect()
    desk.ledger.settle()
    assert ([c.codec for c in again.commands], codecs(desk)) == ([CODEC_14], ["12", "14"])
    desk.audit()


def test_after_a_restart_the_codec_used_is_published(desk: Desk) -> None:
    entry = desk.add(imei=IMEI, payload="c-1")
    desk.ledger.set_serial(IMEI)
    desk.connect()
    desk.read(entry)
    desk.ledger.settle()
    later = Desk(desk._frozen, desk.ledger)
    later.connect()
    later.redeliver()
    later.ledger.settle()
    assert (later.life()[-1], codecs(later)[-1]) == ("failed gateway_restart maybe_sent", "14")


# The answer


@pytest.mark.parametrize(
    ("asked", "spoken", "attributed"),
    [
        ({}, False, "certain"),
        ({}, True, "certain"),
        ({"codec": "12"}, False, "certain"),
        ({"codec": "12"}, True, "uncertain"),
        ({"codec": "14"}, True, "certain"),
    ],
)
def test_an_answer_says_how_far_it_can_be_believed(
    desk: Desk, asked: dict[str, str], spoken: bool, attributed: str
) -> None:
    link = speaker(desk) if spoken else desk.connect()
    desk.ask(**asked)
    desk.ledger.settle()
    desk.answer(link, codec=link.commands[-1].codec)
    desk.ledger.settle()
    assert attributions(desk) == ["", "", attributed]


def test_forced_codec_12_is_uncertain_for_a_device_in_redis(desk: Desk) -> None:
    link = desk.connect()
    desk.ledger.set_serial(IMEI)
    desk.ask(codec="12")
    desk.ledger.settle()
    desk.answer(link)
    desk.ledger.settle()
    assert attributions(desk)[-1] == "uncertain"


def test_a_refusal_is_certain(desk: Desk) -> None:
    link = speaker(desk)
    desk.ask()
    desk.ledger.settle()
    desk.nack(link)
    desk.ledger.settle()
    assert (desk.life()[-1], attributions(desk)[-1]) == ("failed nack answered", "certain")


def test_serial_data_are_never_taken_for_an_answer_on_codec_14(desk: Desk) -> None:
    link = speaker(desk)
    desk.ask()
    desk.ledger.settle()
    assert not say(desk, link)
    assert not say(desk, link, codec=CODEC_13)
    desk.ledger.settle()
    assert desk.life()[-1] == "sent maybe_sent"


def test_serial_data_make_a_codec_12_answer_uncertain(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    say(desk, link, codec=CODEC_13)
    desk.answer(link, "OK")
    desk.ledger.settle()
    assert (desk.ledger.events("c-1")[-1].response, attributions(desk)[-1]) == ("OK", "uncertain")


# The late answer


@pytest.mark.parametrize("codec", [CODEC_12, CODEC_13])
def test_serial_data_clear_no_taint(desk: Desk, codec: int) -> None:
    link = speaker(desk)
    desk.ask(codec="12")
    desk.ask("next")
    desk.ledger.settle()
    desk.at(30)
    assert not say(desk, link, codec=codec)
    desk.ledger.settle()
    assert (link.tainted, link.texts, desk.ledger.notes("late_response")) == (True, ["c-1"], [])
    desk.at(60)
    assert link.close_reason == "tainted"


def test_a_taint_from_before_the_port_first_spoke_stays_too(desk: Desk) -> None:
    link = desk.connect()
    desk.ask()
    desk.ledger.settle()
    desk.at(30)
    say(desk, link, codec=CODEC_13)
    say(desk, link)
    assert link.tainted


def test_a_late_answer_on_codec_14_clears_the_taint(desk: Desk) -> None:
    link = speaker(desk)
    desk.ask()
    desk.ask("next")
    desk.ledger.settle()
    desk.at(30)
    say(desk, link)
    assert link.tainted
    desk.answer(link, "late", codec=CODEC_14)
    desk.ledger.settle()
    [note] = desk.ledger.notes("late_response")
    assert (note.command_id, note.response, note.attribution, note.codec) == ("c-1", "late", "certain", "14")
    assert link.texts == ["c-1", "next"]


def test_a_command_to_a_device_that_is_known_takes_one_call(desk: Desk) -> None:
    link = speaker(desk)
    desk.ledger.set_serial(IMEI)
    desk.ask()
    desk.ledger.call()
    assert [c.codec for c in link.commands] == [CODEC_14]
