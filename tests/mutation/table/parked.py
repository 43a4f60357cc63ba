"""Mechanisms of parked commands, which wait in Redis for a device that is connected nowhere."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P5",
        name="parked commands come first",
        what="While commands are parked for a device no `sent` is committed for it.",
        file="store/scripts/moves.lua",
        code="if is_awaited(move.imei) then return report('PARKED', seen, known) end",
        mutant="",
        without="a newer command overtakes those of which its gateway was not told",
        tests=("transport/test_parking.py::test_parked_commands_that_nobody_told_of_come_first",),
    ),
    Mechanism(
        promise="P5",
        name="the place of a parked command",
        what="A command that was parked keeps that place among the commands of its device.",
        file="transport/commands/in_flight_command.py",
        where="InFlightCommand.place",
        code="self.request.parked_id or self.request.outbound_id",
        mutant="self.request.outbound_id",
        without="it is written after newer commands, because it came to the stream after them",
        tests=("transport/test_parking.py::test_newer_commands_come_after_the_parked_ones",),
    ),
    Mechanism(
        promise="P1",
        name="only the holder takes parked commands up",
        what="A parked command is moved only to the gateway that the registry names.",
        file="store/scripts/moves.lua",
        code="if held_elsewhere(move.device, move.to) then return report('HELD_ELSEWHERE', seen) end",
        mutant="",
        without="a gateway that the device has left takes its commands away from where it is",
        tests=("transport/test_parking.py::test_what_another_gateway_holds_is_not_taken",),
    ),
    Mechanism(
        promise="P2",
        name="parked commands expire",
        what="A janitor ends the parked commands whose time is over.",
        file="store/fleet/janitor.py",
        where="Janitor.run",
        code="await self._attempt(self._end_parked)",
        mutant="",
        without="a command for a device that never comes back has no verdict",
        tests=("store/test_janitor_rounds.py::test_it_ends_parked_commands_every_interval",),
    ),
    Mechanism(
        promise="P2",
        name="the index of parked commands",
        what="The time of a parked command is where janitors and registrations look for it.",
        file="store/scripts/moves.lua",
        code="redis.call('ZADD', waiting, whole(move.expires), move.imei)",
        mutant="",
        without="no gateway knows of it",
        tests=(
            "store/test_parked.py::test_a_parked_command_that_is_due_expires",
            "transport/test_parking.py::test_the_device_gets_them_in_order_when_it_comes",
        ),
    ),
)
