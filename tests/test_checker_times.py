"""The checker where time matters: what Redis has forgotten, and what comes too late or too early."""

from __future__ import annotations

import pytest

from tests import wire_format
from tests.checker import check
from tests.history import Bytes, History, Loss, Produced
from tests.test_checker import AT, IMEI, command, event, good

__all__ = ["good"]

AT_LOSS = AT + 10_000.0
LOSS = Loss(0.0, AT_LOSS)
AGAIN = AT + 20_000


def rules(history: History) -> set[str]:
    """Which rules are broken."""
    return {violation.rule for violation in check(history, at_rest=True)}


def asked_again(history: History, instance: str) -> None:
    """After the loss the command is asked again; this time it ends without being sent."""
    fields = {"command_id": "c1", "imei": IMEI, "payload": "getinfo 1"}
    history.produced.append(Produced(instance, f"{AGAIN}-0", fields))
    verdict = {"terminal": "1", "reason": "expired", "instance_id": instance}
    history.responses.append((f"{AGAIN + 1}-0", event(1, "", "expire", "timeout", **verdict)[1]))
    history.ledgers["c1"] = {"state": "timeout", "seq": "1"}


def written_again(history: History, session: str) -> None:
    """The command reaches the device once more."""
    history.connections[session] = IMEI
    history.traffic += [
        Bytes(AGAIN, session, True, wire_format.hello(IMEI)),
        Bytes(AGAIN, session, False, b"\x01"),
        command("getinfo 1", AGAIN + 5, session),
    ]
    sent = event(2, "queued", "send", "sent", delivery="maybe_sent", session_id=session)
    life = [event(1, "", "accept", "queued"), sent]
    history.responses += [(f"{AGAIN + number}-0", fields) for number, (_, fields) in enumerate(life)]
    history.ledgers["c1"] = {"state": "sent", "seq": "2"}


def test_a_lost_command_may_begin_again_elsewhere(good: History) -> None:
    asked_again(good, "other")
    assert rules(good) >= {"I2", "I3", "I5"}
    good.losses = [LOSS]
    assert rules(good) == set()


def test_the_writing_process_remembers_a_lost_command(
    good: History,
) -> None:
    good.losses = [LOSS]
    asked_again(good, "gw")
    assert rules(good) == {"I5"}
    good.deaths["boot"] = AT_LOSS + 1
    assert rules(good) == set()


@pytest.mark.parametrize(("session", "broken"), [("boot-2", {"I1"}), ("boot2-1", set())])
def test_only_another_process_may_write_again_after_a_loss(
    good: History, session: str, broken: set[str]
) -> None:
    good.losses = [LOSS]
    written_again(good, session)
    assert rules(good) - {"I2"} == broken


def test_a_second_write_after_restored_events_is_an_error(good: History) -> None:
    good.losses = [LOSS]
    good.responses.append((f"{AT_LOSS + 1:.0f}-0", good.responses[-1][1] | {"recovered": "1"}))
    written_again(good, "boot2-1")
    assert "I1" in rules(good)


def test_a_command_kept_through_a_loss_goes_on_in_the_log(good: History) -> None:
    queued, sent, verdict = good.responses
    good.losses = [Loss(AT + 101.5, AT_LOSS)]
    good.responses += [(f"{AT_LOSS + 1:.0f}-0", sent[1]), (f"{AT_LOSS + 2:.0f}-0", verdict[1])]
    assert rules(good) == set()
    good.responses.remove(queued)
    assert rules(good) == {"I12", "I3"}


def test_a_lost_command_needs_no_outcome_unless_kept(good: History) -> None:
    good.responses, good.ledgers, good.traffic, good.received = [], {}, [], set()
    assert rules(good) == {"I2"}
    good.losses = [LOSS]
    assert rules(good) == set()
    good.kept = {"c1"}
    assert rules(good) == {"I2"}


def test_after_a_loss_only_marked_events_continue_a_command(good: History) -> None:
    _, verdict = good.responses.pop()
    good.responses.append((f"{AT_LOSS + 1:.0f}-0", verdict))
    good.losses = [LOSS]
    good.kept = {"c1"}
    assert rules(good) == {"I3"}
    verdict["recovered"] = "1"
    assert rules(good) == set()


@pytest.mark.parametrize(("lost", "late"), [(set(), True), ({"gw"}, False)])
def test_an_outcome_comes_in_time_or_after_adoption(good: History, lost: set[str], late: bool) -> None:
    good.calm_at, good.ttl, good.response_timeout = AT + 0.0, 10.0, 5.0
    good.recovery, good.adoption, good.lost = 5.0, 20.0, lost
    assert rules(good) == set()
    _, verdict = good.responses.pop()
    good.responses.append((f"{AT + 17_000}-0", verdict))
    assert rules(good) == ({"P2"} if late else set())
    good.responses[-1] = (f"{AT + 27_000}-0", verdict)
    assert rules(good) == {"P2"}


def test_nothing_is_written_before_the_first_ack_within_the_grace(good: History) -> None:
    good.ready_grace = 0.2
    assert rules(good) == set()
    del good.traffic[2:4]
    good.acked.remove((IMEI, AT))
    assert rules(good) == {"ready"}
    good.ready_grace = 0.1
    assert rules(good) == set()


@pytest.mark.parametrize("codec", wire_format.AVL_CODECS)
def test_a_stored_frame_counts_for_the_records_in_it(good: History, codec: str) -> None:
    body = wire_format.avl([AT, AT + 9], codec)[8:-4]
    good.telemetry = [{"imei": IMEI, "frame": body.hex()}]
    assert rules(good) == set()
    good.telemetry = [{"imei": IMEI, "frame": wire_format.avl([AT], codec)[8:-4].hex()}]
    assert rules(good) == {"P7"}


def test_an_unidentified_device_may_be_refused(good: History) -> None:
    good.connections["boot-2"] = IMEI
    good.traffic += [Bytes(AT, "boot-2", True, b"\0\x0fGET"), Bytes(AT + 1, "boot-2", False, b"\0")]
    assert rules(good) == set()
    good.traffic[-2] = Bytes(AT, "boot-2", True, wire_format.hello(IMEI))
    assert rules(good) == {"wire"}
