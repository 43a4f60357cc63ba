"""A trigger of a state machine: decided, and folded."""

from __future__ import annotations

from typing import Any

import pytest

from fsm import command, session
from fsm.command import Command, CommandRequest
from fsm.session import Session


@pytest.mark.benchmark(group="trigger")
def test_of_a_command(benchmark: Any) -> None:
    request = CommandRequest(
        command_id="c-1",
        imei="356307042441013",
        payload=b"getver",
        codec="12",
        expires_at=4_000_000_000_000,
        accepted_at=1_767_225_600_000,
        response_timeout=30.0,
        expect_response=True,
        instance_id="gw-1",
        outbound_id="1-1",
    )
    queued = command.evolve(Command("c-1"), command.decide(Command("c-1"), "accept", request=request))

    def send() -> Command:
        return command.evolve(queued, command.decide(queued, "send", request=request, session_id="s-1"))

    assert benchmark(send).state == "sent"


@pytest.mark.benchmark(group="trigger")
def test_of_a_session(benchmark: Any) -> None:
    identified = Session("s-1", session.IDENTIFIED, 2)

    def open_it() -> Session:
        return session.evolve(identified, session.decide(identified, "open", imei="356307042441013"))

    assert benchmark(open_it).state == session.READY
