"""An entry that an earlier process has refused, and whose removal Redis has lost."""

from __future__ import annotations

import pytest

from fsm.moves import Entry
from tests.transport.desk import IMEI, Desk
from tests.transport.fake_ledger import US, Row


@pytest.mark.parametrize("state", ["failed", "timeout"])
def test_what_was_refused_in_one_move_is_not_sent_to_a_device_that_is_free(desk: Desk, state: str) -> None:
    """Its ledger stands at the first event, where that of a command stands that may be sent."""
    entry = Entry(US, "1767225600000-1")
    desk.ledger.rows["c-1"] = Row(state, 1, "boot-a:1", entry, IMEI)
    desk.ledger.stream[entry] = {"command_id": "c-1", "imei": IMEI, "payload": "c-1"}
    link = desk.connect()
    desk.redeliver()
    desk.ledger.settle()
    assert (link.texts, desk.ledger.log) == ([], [])
    assert desk.ledger.stream == {}
