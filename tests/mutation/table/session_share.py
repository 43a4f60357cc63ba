"""Mechanisms of the share that session events have of the log."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="bounds",
        name="a share for each address",
        what="An address causes so many session events, however many devices it claims to be.",
        file="transport/connection/session_share.py",
        where="SessionShare._pay",
        code="self._address.covers(network, units, now)",
        mutant="True",
        without="strangers of one address use up what all others need",
        tests=("transport/test_session_share.py::test_strangers_of_one_address_take_nothing_from_others",),
    ),
    Mechanism(
        promise="bounds",
        name="addresses take turns",
        what="When the gateway has no share left, the address that was served goes behind all others.",
        file="transport/connection/session_share.py",
        where="SessionShare._try_next",
        code="self._waiting.move_to_end(network)",
        mutant="",
        without="an address with many sessions keeps all others waiting",
        tests=(
            "transport/test_session_share.py::"
            "test_strangers_of_many_addresses_delay_others_and_do_not_silence_them",
        ),
    ),
    Mechanism(
        promise="faults",
        name="a known session ends",
        what="The end of a session is published if anything of it was, whatever the share.",
        file="transport/connection/session_share.py",
        where="SessionShare.publish",
        code="event.terminal",
        mutant="False",
        without="consumers take a device for connected for ever",
        tests=("transport/test_session_share.py::test_the_end_of_a_known_session_is_always_published",),
    ),
    Mechanism(
        promise="faults",
        name="a session that lasts becomes known",
        what="A session event that is not covered waits for its turn.",
        file="transport/connection/session_share.py",
        where="SessionShare.publish",
        code="self._waiting.setdefault(network, {})[source] = self._untold(event, at_ms)",
        mutant="self._leave_out(source, network, now)",
        without="a connected device that reconnected too often before is never shown",
        tests=("transport/test_session_share.py::test_a_session_that_lasts_becomes_known_in_the_end",),
    ),
)
