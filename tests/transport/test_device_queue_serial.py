"""Commands to devices whose serial port speaks: their codec, and how far an answer is believed."""

from __future__ import annotations

import pytest

from tests.transport.command_rig import IMEI, CommandRig, FakeLink
from transport.teltonika.command import TYPE_ANSWER, Message
from transport.teltonika.frame import CODEC_12, CODEC_13, CODEC_14, CODEC_15


def say(commands: CommandRig, link: FakeLink, text: bytes = b"$SENSOR", codec: int = CODEC_12) -> bool:
    """The serial port speaks; whether that was taken for an answer."""
    return commands.dispatcher.answer(link, Message(codec, TYPE_ANSWER, text, timestamp=7))


def speaker(commands: CommandRig) -> FakeLink:
    """A device that has spoken."""
    link = commands.connect()
    say(commands, link)
    return link


def codecs(commands: CommandRig, command_id: str = "c-1") -> list[str]:
    return [event.codec for event in commands.ledger.events(command_id)]


def attributions(commands: CommandRig, command_id: str = "c-1") -> list[str]:
    return [event.attribution for event in commands.ledger.events(command_id)]


# The codec


@pytest.mark.parametrize("spoke", [CODEC_12, CODEC_13, CODEC_15])
def test_a_device_that_has_spoken_gets_commands_as_codec_14(commands: CommandRig, spoke: int) -> None:
    link = commands.connect()
    say(commands, link, codec=spoke)
    commands.ask()
    commands.ledger.commit()
    assert ([c.codec for c in link.commands], codecs(commands)) == ([CODEC_14], ["14", "14"])


@pytest.mark.parametrize(("asked", "used"), [("12", CODEC_12), ("14", CODEC_14)])
@pytest.mark.parametrize("spoken", [True, False])
def test_the_codec_that_the_producer_asks_for_is_used(
    commands: CommandRig, asked: str, used: int, spoken: bool
) -> None:
    link = speaker(commands) if spoken else commands.connect()
    commands.ask(codec=asked)
    commands.ledger.commit()
    assert ([c.codec for c in link.commands], codecs(commands)) == ([used], [asked, asked])


@pytest.mark.parametrize(
    "ignored", [Message(CODEC_14, TYPE_ANSWER, b"x", IMEI), Message(12, TYPE_ANSWER, b"")]
)
def test_a_second_codec_14_answer_and_a_ping_show_no_serial_port(
    commands: CommandRig, ignored: Message
) -> None:
    link = commands.connect()
    commands.dispatcher.answer(link, ignored)
    commands.ask()
    commands.ledger.commit()
    assert [c.codec for c in link.commands] == [CODEC_12]


def test_the_codec_is_chosen_when_the_command_is_sent(commands: CommandRig) -> None:
    link = commands.connect(ready=False)
    commands.ask()
    commands.ledger.commit()
    say(commands, link)
    commands.ready(link)
    commands.ledger.commit()
    assert codecs(commands) == ["12", "14"]


@pytest.mark.parametrize("fresh", [True, False])
def test_the_mark_in_redis_decides_the_codec_before_sending(commands: CommandRig, fresh: bool) -> None:
    link = commands.connect()
    commands.ledger.set_serial(IMEI)
    first = commands.add(imei=IMEI, payload="c-1")
    second = commands.add("c-2", imei=IMEI, payload="c-2")
    commands.read(first, second, fresh=fresh)
    commands.ledger.commit()
    assert (codecs(commands), link.texts, link.speaks) == (["12", "14"], ["c-1"], True)
    commands.answer(link, codec=CODEC_14)
    commands.ledger.commit()
    assert (attributions(commands)[-1], codecs(commands, "c-2")[-1], link.texts) == (
        "certain",
        "14",
        ["c-1", "c-2"],
    )
    commands.audit()


def test_a_cancel_comes_before_a_new_choice_of_codec(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.set_serial(IMEI)
    commands.ask()
    commands.cancel()
    commands.ledger.commit()
    assert (commands.life()[-1], link.texts) == ("failed cancelled not_sent", [])


def test_a_stop_comes_before_a_new_choice_of_codec(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.set_serial(IMEI)
    commands.ask()
    commands.dispatcher.stop()
    commands.ledger.commit()
    assert (commands.life()[-1], link.texts) == ("failed gateway_shutdown not_sent", [])


def test_a_new_choice_of_codec_waits_for_its_device(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.set_serial(IMEI)
    commands.ask()
    commands.disconnect(link)
    commands.ledger.commit()
    assert commands.life() == ["queued not_sent"]
    again = commands.connect()
    commands.ledger.commit()
    assert ([c.codec for c in again.commands], codecs(commands)) == ([CODEC_14], ["12", "14"])
    commands.audit()


def test_after_a_restart_the_codec_used_is_published(commands: CommandRig) -> None:
    entry = commands.add(imei=IMEI, payload="c-1")
    commands.ledger.set_serial(IMEI)
    commands.connect()
    commands.read(entry)
    commands.ledger.commit()
    later = CommandRig(commands._frozen, commands.ledger)
    later.connect()
    later.redeliver()
    later.ledger.commit()
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
    commands: CommandRig, asked: dict[str, str], spoken: bool, attributed: str
) -> None:
    link = speaker(commands) if spoken else commands.connect()
    commands.ask(**asked)
    commands.ledger.commit()
    commands.answer(link, codec=link.commands[-1].codec)
    commands.ledger.commit()
    assert attributions(commands) == ["", "", attributed]


def test_forced_codec_12_is_uncertain_for_a_device_in_redis(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ledger.set_serial(IMEI)
    commands.ask(codec="12")
    commands.ledger.commit()
    commands.answer(link)
    commands.ledger.commit()
    assert attributions(commands)[-1] == "uncertain"


def test_a_refusal_is_certain(commands: CommandRig) -> None:
    link = speaker(commands)
    commands.ask()
    commands.ledger.commit()
    commands.nack(link)
    commands.ledger.commit()
    assert (commands.life()[-1], attributions(commands)[-1]) == ("failed nack answered", "certain")


def test_serial_data_are_never_taken_for_an_answer_on_codec_14(commands: CommandRig) -> None:
    link = speaker(commands)
    commands.ask()
    commands.ledger.commit()
    assert not say(commands, link)
    assert not say(commands, link, codec=CODEC_13)
    commands.ledger.commit()
    assert commands.life()[-1] == "sent maybe_sent"


def test_serial_data_make_a_codec_12_answer_uncertain(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    say(commands, link, codec=CODEC_13)
    commands.answer(link, "OK")
    commands.ledger.commit()
    assert (commands.ledger.events("c-1")[-1].response, attributions(commands)[-1]) == ("OK", "uncertain")


# The late answer


@pytest.mark.parametrize("codec", [CODEC_12, CODEC_13])
def test_serial_data_clear_no_taint(commands: CommandRig, codec: int) -> None:
    link = speaker(commands)
    commands.ask(codec="12")
    commands.ask("next")
    commands.ledger.commit()
    commands.at(30)
    assert not say(commands, link, codec=codec)
    commands.ledger.commit()
    assert (link.tainted, link.texts, commands.ledger.notes("late_response")) == (True, ["c-1"], [])
    commands.at(60)
    assert link.close_reason == "tainted"


def test_a_taint_from_before_the_port_first_spoke_stays_too(commands: CommandRig) -> None:
    link = commands.connect()
    commands.ask()
    commands.ledger.commit()
    commands.at(30)
    say(commands, link, codec=CODEC_13)
    say(commands, link)
    assert link.tainted


def test_a_late_answer_on_codec_14_clears_the_taint(commands: CommandRig) -> None:
    link = speaker(commands)
    commands.ask()
    commands.ask("next")
    commands.ledger.commit()
    commands.at(30)
    say(commands, link)
    assert link.tainted
    commands.answer(link, "late", codec=CODEC_14)
    commands.ledger.commit()
    [note] = commands.ledger.notes("late_response")
    assert (note.command_id, note.response, note.attribution, note.codec) == ("c-1", "late", "certain", "14")
    assert link.texts == ["c-1", "next"]


def test_a_command_to_a_device_that_is_known_takes_one_call(commands: CommandRig) -> None:
    link = speaker(commands)
    commands.ledger.set_serial(IMEI)
    commands.ask()
    commands.ledger.call()
    assert [c.codec for c in link.commands] == [CODEC_14]
