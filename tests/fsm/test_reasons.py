"""The closed lists, and the table of verdicts against the machine it belongs to."""

from __future__ import annotations

from fsm import reasons
from fsm.command import COMMAND
from fsm.reasons import CLOSE_REASONS, EDGE_RULES, NOTES

EXPECTED_DELIVERY = {
    ("accept", "new"): ("not_sent", "not_sent"),
    ("refuse", "new"): ("not_sent", "not_sent"),
    ("expire", "new"): ("not_sent", "not_sent"),
    ("expire", "queued"): ("not_sent", "not_sent"),
    ("send", "queued"): ("maybe_sent", "maybe_sent"),
    ("fail", "queued"): ("not_sent", "not_sent"),
    ("withdraw", "sent"): ("not_sent", "not_sent"),
    ("respond", "sent"): ("answered", "answered"),
    ("reject", "sent"): ("answered", "answered"),
    ("deliver", "sent"): ("received", "received"),
    ("fail", "sent"): ("maybe_sent", "received"),
    ("time_out", "sent"): ("maybe_sent", "received"),
}


def test_edge_rules_cover_every_edge_and_no_other() -> None:
    assert set(EDGE_RULES) == {(edge["trigger"], edge["source"]) for edge in COMMAND}


def test_every_edge_has_the_delivery_of_the_specification() -> None:
    found = {edge: (verdict.delivery, verdict.acknowledged) for edge, verdict in EDGE_RULES.items()}
    assert found == EXPECTED_DELIVERY


def test_only_edges_to_failures_need_a_reason() -> None:
    without = {trigger for (trigger, _), verdict in EDGE_RULES.items() if not verdict.reasons}
    assert without == {"accept", "send", "respond", "deliver"}


def test_every_reason_is_used_by_a_list_or_an_edge() -> None:
    named = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    used = {reason for verdict in EDGE_RULES.values() for reason in verdict.reasons}
    used |= {
        delivery for verdict in EDGE_RULES.values() for delivery in (verdict.delivery, verdict.acknowledged)
    }
    assert named == used | CLOSE_REASONS | set(NOTES)


def test_the_reasons_of_a_close_are_those_of_the_specification() -> None:
    expected = {
        "device_closed",
        "connection_reset",
        "network_timeout",
        "rejected",
        "handshake_timeout",
        "idle",
        "no_place",
        "superseded",
        "protocol_error",
        "write_overflow",
        "store_unavailable",
        "tainted",
        "shutdown",
        "fenced",
        "instance_lost",
        "device_refused",
    }
    assert expected == CLOSE_REASONS


def test_the_notes_are_those_of_the_specification() -> None:
    expected = {
        "late_response",
        "unsolicited_response",
        "duplicate_ignored",
        "cancel_rejected",
        "late_outcome",
        "moved",
        "session_events_left_out",
        "takeover",
        "takeover_disputed",
        "takeover_refused",
        "parked",
    }
    assert expected == set(NOTES)
