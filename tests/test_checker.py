"""The checker is checked: a good history passes, and each way of spoiling it is reported by its rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import wire_format
from tests.checker import Checker, check
from tests.history import Bytes, Fields, History, Produced

IMEI = "356900000000001"
OTHER = "356900000000002"
AT = 1_767_225_600_000
SESSION = "boot-1"
PEER = {"peer": "10.0.0.1:40000", "auth": "plain"}


def event(seq: int, prev: str, trigger: str, state: str, **given: str) -> tuple[str, Fields]:
    """An entry of the log about the command c1."""
    fields = {
        **{"kind": "command", "command_id": "c1", "seq": str(seq), "prev": prev, "trigger": trigger},
        **{"state": state, "terminal": "0", "reason": "", "delivery": "not_sent", "imei": IMEI},
        **{"instance_id": "gw", "outbound_id": f"{AT}-0", "session_id": "", **given},
    }
    return f"{AT + 100 + seq}-0", fields


ANSWER = wire_format.message("12", IMEI, wire_format.ANSWER, b"done: getinfo 1")


def command(text: str, at: float, connection: str = SESSION) -> Bytes:
    """A command frame written to a device."""
    return Bytes(at, connection, False, wire_format.message("12", IMEI, wire_format.COMMAND, text.encode()))


def up(data: bytes, at: float) -> Bytes:
    """Bytes from the device."""
    return Bytes(at, SESSION, True, data)


def down(data: bytes, at: float) -> Bytes:
    """Bytes to the device."""
    return Bytes(at, SESSION, False, data)


@pytest.fixture
def good() -> History:
    """One device, two records, one command with its answer."""
    return History(
        connections={SESSION: IMEI},
        traffic=[
            up(wire_format.hello(IMEI), AT),
            down(b"\x01", AT + 1),
            up(wire_format.avl([AT]), AT + 2),
            down((1).to_bytes(4, "big"), AT + 3),
            command("getinfo 1", AT + 103),
            up(ANSWER, AT + 200),
            up(wire_format.avl([AT + 9]), AT + 201),
            down((1).to_bytes(4, "big"), AT + 202),
        ],
        produced=[Produced("gw", f"{AT}-0", {"command_id": "c1", "imei": IMEI, "payload": "getinfo 1"})],
        responses=[
            event(1, "", "accept", "queued"),
            event(2, "queued", "send", "sent", delivery="maybe_sent", session_id=SESSION, **PEER),
            event(
                *(3, "sent", "respond", "responded"),
                terminal="1",
                delivery="answered",
                session_id=SESSION,
                response="done: getinfo 1",
            ),
        ],
        ledgers={"c1": {"state": "responded", "seq": "3"}},
        registry={IMEI: "gw"},
        tokens={IMEI: SESSION},
        live={IMEI: ("gw", SESSION)},
        telemetry=[{"imei": IMEI, "data": f'{{"timestamp":{AT + more}}}'} for more in (0, 9)],
        acked=[(IMEI, AT), (IMEI, AT + 9)],
        received={(IMEI, "getinfo 1")},
        left={"gw": []},
        pending={"gw": []},
    )


def test_a_good_history_passes(good: History) -> None:
    assert check(good, at_rest=True) == []


def write_twice(history: History) -> None:
    history.connections["boot-2"] = IMEI
    history.traffic += [
        Bytes(AT + 300, "boot-2", True, wire_format.hello(IMEI)),
        Bytes(AT + 301, "boot-2", False, b"\x01"),
        command("getinfo 1", AT + 302, "boot-2"),
    ]


def sent_to_nobody(history: History) -> None:
    del history.responses[1][1]["peer"]


def sent_while_held(history: History) -> None:
    history.hold = 60_000.0
    note = {"kind": "note", "note": "takeover", "session_id": SESSION, "imei": IMEI}
    history.responses.insert(1, (f"{AT + 101}-9", note))


def no_verdict(history: History) -> None:
    history.responses.pop()
    history.ledgers["c1"] = {"state": "sent", "seq": "2"}


def two_verdicts(history: History) -> None:
    history.responses.append(event(4, "responded", "fail", "failed", terminal="1", reason="nack"))


def gap(history: History) -> None:
    history.responses[2][1]["seq"] = "4"
    history.ledgers["c1"]["seq"] = "4"


def write_before_sent(history: History) -> None:
    history.traffic[4] = replace(history.traffic[4], at=AT + 50)


def write_on_another_session(history: History) -> None:
    history.responses[1][1]["session_id"] = "boot-7"


def written_and_not_sent(history: History) -> None:
    history.responses[2] = event(3, "sent", "withdraw", "timeout", terminal="1", reason="expired")
    history.ledgers["c1"]["state"] = "timeout"


def answer_of_nobody(history: History) -> None:
    history.received.clear()


def foreign_answer(history: History) -> None:
    history.responses[2][1]["response"] = "done: getinfo 2"


def foreign_late_answer(history: History) -> None:
    history.responses.append(
        (f"{AT + 900}-0", {"kind": "note", "command_id": "c1", "response": "done: getinfo 2"})
    )


def two_unanswered(history: History) -> None:
    history.produced.append(Produced("gw", f"{AT}-1", {"command_id": "c2", "payload": "getinfo 2"}))
    history.traffic.insert(5, command("getinfo 2", AT + 104))


def pending_entry(history: History) -> None:
    history.pending["gw"] = [f"{AT}-0"]


def entry_left(history: History) -> None:
    history.left["gw"] = [f"{AT}-0"]


def held(history: History) -> None:
    history.held.append("c1")


def ledger_ahead(history: History) -> None:
    history.ledgers["c1"] = {"state": "failed", "seq": "4"}


def stale_registry(history: History) -> None:
    history.registry[OTHER] = "gw"


def unregistered_session(history: History) -> None:
    history.registry.clear()


def orphaned_token(history: History) -> None:
    history.tokens[OTHER] = "boot-9"


def late_ack(history: History) -> None:
    history.late_acks.append("a frame waited 3 s for its ack")


def unknown_move(history: History) -> None:
    history.responses[2][1]["trigger"] = "deliver"


def unknown_session_move(history: History) -> None:
    fields = {
        "kind": "session",
        "session_id": SESSION,
        "prev": "tainted",
        "trigger": "open",
        "state": "ready",
    }
    history.responses.append((f"{AT + 900}-0", fields))


def wrong_reason(history: History) -> None:
    history.responses[0][1]["reason"] = "nack"


def wrong_delivery(history: History) -> None:
    history.responses[1][1]["delivery"] = "not_sent"


def write_within_a_frame(history: History) -> None:
    history.traffic[3], history.traffic[4] = history.traffic[4], history.traffic[3]


def write_within_half_a_frame(history: History) -> None:
    frame = wire_format.avl([AT + 50])
    history.traffic.insert(4, up(frame[:7], AT + 90))


def wrong_ack(history: History) -> None:
    history.traffic[3] = down((2).to_bytes(4, "big"), AT + 3)


def unknown_text(history: History) -> None:
    history.traffic[4] = command("getinfo 3", AT + 103)


def out_of_order(history: History) -> None:
    fields = {"command_id": "c0", "imei": IMEI, "payload": "getinfo 0"}
    history.produced.append(Produced("gw", f"{AT - 5}-0", fields))
    early = {"command_id": "c0", "outbound_id": f"{AT - 5}-0"}
    history.responses += [
        event(1, "", "accept", "queued", **early),
        event(2, "queued", "send", "sent", delivery="maybe_sent", session_id=SESSION, **early),
    ]
    history.traffic.append(command("getinfo 0", AT + 300))


def no_accept_byte(history: History) -> None:
    history.traffic[1], history.traffic[4] = history.traffic[4], history.traffic[1]


def lost_record(history: History) -> None:
    history.telemetry.pop()


SPOILT: list[tuple[Callable[[History], None], str]] = [
    (write_twice, "I1"),
    (sent_to_nobody, "peer"),
    (sent_while_held, "hold"),
    (no_verdict, "I2"),
    (two_verdicts, "I2"),
    (gap, "I3"),
    (write_before_sent, "I4"),
    (write_on_another_session, "I4"),
    (written_and_not_sent, "I5"),
    (answer_of_nobody, "P3"),
    (foreign_answer, "I6"),
    (foreign_late_answer, "I6"),
    (two_unanswered, "I7"),
    (pending_entry, "I8"),
    (entry_left, "I8"),
    (held, "I8"),
    (ledger_ahead, "I9"),
    (stale_registry, "I10"),
    (unregistered_session, "I10"),
    (orphaned_token, "I10"),
    (late_ack, "I11"),
    (unknown_move, "I12"),
    (unknown_session_move, "I12"),
    (wrong_reason, "I12"),
    (wrong_delivery, "I12"),
    (write_within_a_frame, "quiet"),
    (write_within_half_a_frame, "quiet"),
    (wrong_ack, "acks"),
    (unknown_text, "wire"),
    (out_of_order, "P5"),
    (no_accept_byte, "wire"),
    (lost_record, "P7"),
]


@pytest.mark.parametrize(("spoil", "rule"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_a_spoilt_history_is_reported_by_the_rule_it_breaks(
    good: History, spoil: Callable[[History], None], rule: str
) -> None:
    spoil(good)
    assert rule in {violation.rule for violation in check(good, at_rest=True)}


@pytest.mark.parametrize(
    ("peers", "broken"), [(["10.0.0.1:1"], False), (["10.0.0.1:1", "10.0.0.2:1"], True), ([], True)]
)
def test_a_hold_is_counted_from_the_first_of_a_peers_sessions(
    good: History, peers: list[str], broken: bool
) -> None:
    sent_while_held(good)
    sessions = {f"before-{number}": peer for number, peer in enumerate(peers)}
    good.traffic[:0] = [Bytes(AT - 60_000 + at, session, True, b"") for at, session in enumerate(sessions)]
    for session, peer in (sessions | {SESSION: PEER["peer"]}).items():
        fields = {"kind": "session", "session_id": session, "imei": IMEI, "peer": peer}
        good.responses.append((f"{AT}-0", fields))
    found = [violation.rule for violation in Checker(good).held_gets_nothing()]
    assert found == ["hold"] * broken


def test_what_is_unfinished_is_no_violation_before_rest(good: History) -> None:
    no_verdict(good)
    pending_entry(good)
    stale_registry(good)
    assert check(good, at_rest=False) == []


def test_as_devices_see_it_a_command_may_cross_a_report(good: History) -> None:
    write_within_a_frame(good)
    good.from_gateways = False
    assert check(good, at_rest=True) == []


def test_a_write_of_an_unknown_session_needs_an_earlier_sent(good: History) -> None:
    good.connections["?peer"] = good.connections.pop(SESSION)
    good.traffic = [replace(data, connection="?peer") for data in good.traffic]
    assert check(good, at_rest=True) == []
    write_before_sent(good)
    assert {violation.rule for violation in check(good, at_rest=True)} == {"I4"}
