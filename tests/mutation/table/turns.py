"""Mechanisms of turns in a queue: who has one, keeps it, and gives it up."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="a queue that waits is not idle",
        what="A command whose begin is on its way keeps its place from those behind it.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.idle",
        code="self.writes.free and not self.writes.waiting",
        mutant="self.writes.free",
        without="the second takes the turn of the first, which is written before it is queued",
        tests=(("transport/test_device_queue.py::test_a_command_does_not_overtake_one_being_accepted"),),
    ),
    Mechanism(
        promise="P2",
        name="only a command in the slot gives up its turn",
        what="A command that leaves the queue does not undo the turn of the committed command.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.leave",
        code="""
            if self.writes.slot is in_flight:
                ...
        """,
        mutant="...",
        without="a committed command is never written when one behind it is called off",
        tests=(("transport/test_device_queue.py::test_leaving_the_queue_does_not_change_the_first"),),
    ),
    Mechanism(
        promise="P1",
        name="a closed queue is empty",
        what="What waited in a queue that closed waits elsewhere only.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue._vacate",
        code="self.writes.waiting.clear()",
        mutant="",
        without="what waited behind a command that is held elsewhere waits twice",
        tests=(("transport/test_connections.py::test_commands_behind_one_held_elsewhere_wait_once"),),
    ),
    Mechanism(
        promise="P3",
        name="nothing begins during a shutdown",
        what="While the gateway stops no command is begun.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.advance",
        code="stopping or self.held",
        mutant="self.held",
        without="a device that becomes ready gets another command",
        tests=("transport/test_device_queue.py::test_nothing_is_begun_in_a_gateway_that_stops",),
    ),
    Mechanism(
        promise="P3",
        name="TCP is asked after the write",
        what="Of a command that is not written yet the kernel is not asked.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.sample",
        code="in_flight is None or not in_flight.offset or in_flight.received or in_flight.decided",
        mutant="in_flight is None or in_flight.received or in_flight.decided",
        without="a command is `delivered` before it is written",
        tests=("transport/test_device_queue.py::test_of_a_command_that_is_not_written_tcp_says_nothing",),
    ),
    Mechanism(
        promise="P2",
        name="a cancelled command does not cancel others",
        what="Commands that wait for the same device are given up one by one.",
        file="transport/commands/offline.py",
        where="OfflineCommands.discard",
        code="""
            if not commands:
                ...
        """,
        mutant="""
            if True:
                ...
        """,
        without="the others are not written when the device comes",
        tests=("transport/test_cancellation.py::test_one_of_several_waiting_commands_is_cancelled",),
    ),
    Mechanism(
        promise="P3",
        name="one input at a time",
        what="What an effect causes is handled when the input before it has been dealt with.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher._take",
        code="""
            if self._busy:
                self._inputs.append((handler, given))
                return
        """,
        mutant="",
        without="a connection that closes while it is written to is handled within the write",
        tests=(
            "transport/test_connections.py::test_what_a_write_causes_is_handled_when_the_write_has_ended",
        ),
    ),
    Mechanism(
        promise="P2",
        name="an error in one effect does not stop the others",
        what="An error in one effect does not keep those behind it from being carried out.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher._take",
        code="others = self._finish()",
        mutant="others: list[Exception] = []",
        without="an outcome is submitted, or a frame is written, with a later input",
        tests=("transport/test_dispatcher.py::test_an_error_in_one_effect_spares_the_others",),
    ),
)
