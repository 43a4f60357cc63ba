"""The checker is checked where serial ports speak: good histories pass, and spoilt ones are reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import wire_format
from tests.checker import check
from tests.history import Fields, History
from tests.test_checker import AT, IMEI, good, up

__all__ = ["good"]


def said(number: int) -> Fields:
    """An entry of the stream of messages."""
    return {"imei": IMEI, "instance_id": "gw", "codec": "12", "type": "06", "text": f"serial {number}"}


@pytest.fixture
def talkative(good: History) -> History:
    """A device whose port speaks first, and whose only command is a codec 12 that the producer asked for."""
    good.produced[0].fields["codec"] = "12"
    good.traffic[2:2] = [up(wire_format.serial("12", b"serial 1"), AT + 2)]
    good.traffic[-2:-2] = [up(wire_format.serial("13", b"serial 2", b"serial 3"), AT + 200)]
    good.messages = [said(1), said(2), said(3)]
    for _, fields in good.responses:
        fields |= {"codec": "12"}
    good.responses[-1][1]["attribution"] = "uncertain"
    return good


def test_a_good_history_with_a_port_that_speaks_passes(talkative: History) -> None:
    assert check(talkative, at_rest=True) == []
    talkative.messages += [said(2), said(3)]
    assert check(talkative, at_rest=True) == []


@pytest.mark.parametrize("received", [False, True])
def test_serial_data_may_be_an_uncertain_answer(talkative: History, received: bool) -> None:
    """Even to a command that has not reached the device."""
    if not received:
        talkative.received.clear()
    talkative.traffic[-4] = up(wire_format.serial("12", b"serial 2"), AT + 199)
    talkative.traffic[-3] = up(wire_format.serial("13", b"serial 3"), AT + 200)
    talkative.responses[-1][1]["response"] = "serial 2"
    talkative.messages.pop(1)
    assert check(talkative, at_rest=True) == []


def certain(history: History) -> None:
    history.responses[-1][1]["attribution"] = "certain"


def uncertain_on_codec_14(history: History) -> None:
    history.responses[-1][1]["codec"] = "14"


def an_answer_that_nobody_gave(history: History) -> None:
    history.responses[-1][1]["response"] = "serial 9"


def taken_for_an_answer_and_called_certain(history: History) -> None:
    history.responses[-1][1].update(attribution="certain", response="serial 2")


def codec_12_by_default(history: History) -> None:
    del history.produced[0].fields["codec"]


def lost(history: History) -> None:
    history.messages.pop(1)


def out_of_order(history: History) -> None:
    history.messages.reverse()


@pytest.mark.parametrize(
    ("at_rest", "ended", "reported"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_where_messages_have_a_store_of_their_own_some_may_be_lost_or_late(
    talkative: History, at_rest: bool, ended: bool, reported: bool
) -> None:
    lost(talkative)
    talkative.messages_apart = True
    talkative.calm_at = talkative.traffic[0].at if at_rest else None
    if ended:
        talkative.deaths = {name.rpartition("-")[0]: 0.0 for name in talkative.connections}
    assert ("M1" in {violation.rule for violation in check(talkative, at_rest=False)}) is reported


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (certain, "P4"),
        (uncertain_on_codec_14, "P4"),
        (codec_12_by_default, "P4"),
        (an_answer_that_nobody_gave, "I6"),
        (taken_for_an_answer_and_called_certain, "I6"),
        (lost, "M1"),
        (out_of_order, "M1"),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_a_spoilt_history_is_reported(
    talkative: History, spoil: Callable[[History], None], rule: str
) -> None:
    spoil(talkative)
    assert rule in {violation.rule for violation in check(talkative, at_rest=True)}
