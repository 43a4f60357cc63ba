"""Mechanisms of what becomes due, and who waits for whom."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="response timeout",
        what="A command whose answer does not come in time ends.",
        file="transport/commands/endings.py",
        where="Endings.sweep",
        code='self._commands.propose(in_flight, "time_out", reason=reason, acknowledged=in_flight.received)',
        mutant="pass",
        without="it waits for ever",
        tests=("transport/test_timeouts.py::test_a_command_without_an_answer_times_out",),
    ),
    Mechanism(
        promise="P2",
        name="expiry in line",
        what="A command that expires while it waits ends then.",
        file="transport/commands/endings.py",
        where="Endings.sweep",
        code="""
            for in_flight in self._commands.expiries.due(now):
                self._expire(in_flight)
        """,
        mutant="",
        without="it waits for its turn to be told",
        tests=("transport/test_timeouts.py::test_a_command_expires_while_it_waits_in_line",),
    ),
    Mechanism(
        promise="P3",
        name="the expiry of what is out says nothing",
        what="A written command has its answer to wait for, whatever its time to live.",
        file="transport/commands/endings.py",
        where="Endings._expire",
        code="not in_flight.written and in_flight.pending is None",
        mutant="in_flight.pending is None",
        without="a command that is out ends `expired`, `not_sent`",
        tests=("transport/test_timeouts.py::test_the_expiry_of_a_written_command_changes_nothing",),
    ),
    Mechanism(
        promise="faults",
        name="reconnect grace",
        what="The commands of a device that has left wait for it.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher._left",
        code="self._commands.wait(in_flight)",
        mutant='self._commands.propose(in_flight, "fail", reason="device_not_connected")',
        without="they fail with the connection",
        tests=("transport/test_connections.py::test_a_waiting_command_is_kept_for_the_grace",),
    ),
    Mechanism(
        promise="P2",
        name="the grace ends",
        what=(
            "A device that does not come back within the grace costs its commands their life, "
            "not their verdict."
        ),
        file="transport/commands/endings.py",
        where="Endings.sweep",
        code='self._commands.propose(in_flight, "fail", reason=DEVICE_NOT_CONNECTED)',
        mutant="",
        without="they wait until they expire",
        tests=("transport/test_connections.py::test_a_waiting_command_is_kept_for_the_grace",),
    ),
    Mechanism(
        promise="P5",
        name="a newer connection keeps the line",
        what="The old connection's end does not hide the new one.",
        file="transport/commands/device_queues.py",
        where="DeviceQueues.left",
        code="self.links.get(link.imei) is link",
        mutant="link.imei in self.links",
        without="the device looks gone while it is here",
        tests=(
            "transport/test_device_queue_writes.py::test_the_end_of_an_older_connection_leaves_the_newer",
        ),
    ),
    Mechanism(
        promise="registry",
        name="a lost device is let go",
        what="A connection whose device another living instance holds is closed `superseded`.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._displaced",
        code="self._effects.add(Close(link, SUPERSEDED))",
        mutant="",
        without="two instances keep the same device",
        tests=("transport/test_connections.py::test_a_device_held_by_another_instance_is_superseded",),
    ),
    Mechanism(
        promise="P3",
        name="a stop spares what is out",
        what="At SIGTERM a written command goes on until its answer or the end of the time to drain.",
        file="transport/commands/in_flight_command.py",
        where="InFlightCommand.at_shutdown",
        code="self.written or self.decided",
        mutant="self.decided",
        without="it is told `not_sent`",
        tests=("transport/test_shutdown.py::test_queued_commands_fail_and_those_that_are_out_go_on",),
    ),
    Mechanism(
        promise="P2",
        name="a stop ends what waits",
        what="At SIGTERM the commands that wait fail `gateway_shutdown`.",
        file="transport/commands/in_flight_command.py",
        where="InFlightCommand.at_shutdown",
        code="""
            if (self.pending or self.command).state == QUEUED:
                return "fail"
        """,
        mutant="",
        without="they are left to an adopter",
        tests=("transport/test_shutdown.py::test_queued_commands_fail_and_those_that_are_out_go_on",),
    ),
    Mechanism(
        promise="P2",
        name="a stop waits so long",
        what="What is out when the time to drain is over gets its verdict.",
        file="transport/commands/endings.py",
        where="Endings.give_up",
        code='self._commands.propose(in_flight, "fail", reason=GATEWAY_SHUTDOWN, acknowledged=in_flight.received)',
        mutant="",
        without="it is left to the next start",
        tests=("transport/test_shutdown.py::test_when_the_time_to_drain_is_over_the_rest_fails",),
    ),
    Mechanism(
        promise="P2",
        name="a device that is back gets its commands",
        what="What waited for a device gets in line when it is here.",
        file="transport/commands/device_queues.py",
        where="DeviceQueues.arrived",
        code="self.join(in_flight, self.queue_of(link))",
        mutant="",
        without="it is forgotten",
        tests=("transport/test_connections.py::test_a_device_back_in_time_gets_its_commands_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="nothing waits in a gateway that stops",
        what="A command that loses its place while the gateway stops ends.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands.wait",
        code="""
            if self.stopping:
                self.stop(in_flight)
            else:
                ...
        """,
        mutant="...",
        without="it is left to an adopter",
        tests=("transport/test_shutdown.py::test_a_superseded_session_while_stopping_fails_its_command",),
    ),
    Mechanism(
        promise="P2",
        name="a grace is judged when all is known",
        what="The end of the grace waits for a move that is on its way: the device may come back first.",
        file="transport/commands/endings.py",
        where="Endings.sweep",
        code="in_flight.pending is not None or in_flight.moving",
        mutant="False",
        without="a command of a device that is here fails as not connected",
        tests=("transport/test_connections.py::test_a_device_back_before_queued_is_committed_is_spared",),
    ),
    Mechanism(
        promise="P2",
        name="what was decided elsewhere does not time out",
        what="With its place a command gives up its response timeout.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._leave",
        code="self.responses.cancel(in_flight)",
        mutant="",
        without="a command that somebody else decided times out here and is told of again",
        tests=(
            ("transport/test_in_flight.py::test_a_command_that_another_has_decided_does_not_time_out_here"),
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a stop waits for answers only",
        what="Commands that are answered are not waited for at a stop.",
        file="transport/commands/endings.py",
        where="Endings.draining",
        code="in_flight.written and not in_flight.decided",
        mutant="in_flight.written",
        without="without Redis a gateway waits its whole time to drain for nothing",
        tests=("transport/test_shutdown.py::test_a_stop_does_not_wait_for_what_is_answered_already",),
    ),
    Mechanism(
        promise="P2",
        name="a cancel that failed is taken again",
        what="A cancel that could not be carried out is taken when its entry is read again.",
        file="transport/commands/cancellation.py",
        where="Cancellation.answered",
        code="self._entries.remove_other(cancelling.entry)",
        mutant="",
        without="it is taken for one that is being answered, for ever",
        tests=(
            ("transport/test_cancellation_retries.py::test_a_failed_cancel_is_carried_out_when_read_again"),
        ),
    ),
)
