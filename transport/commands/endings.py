"""Verdicts that neither the device nor a producer gives: by time, and by the shutdown."""

from __future__ import annotations

from fsm.command import Facts
from fsm.policies import fire_for
from fsm.reasons import DELIVERY_TIMEOUT, RESPONSE_TIMEOUT, TAINTED, CommandReason
from transport.commands.device_queues import DeviceQueues
from transport.commands.effects import Close, Effects
from transport.commands.in_flight import InFlightCommands
from transport.commands.in_flight_command import Proposal


class Endings:
    """Ends what is due, and what the shutdown does not wait for.

    Args:
        drain_timeout: seconds that a command waits behind an owed answer before its connection is closed.
    """

    def __init__(
        self, commands: InFlightCommands, queues: DeviceQueues, effects: Effects, drain_timeout: float
    ) -> None:
        self._commands = commands
        self._effects = effects
        self._queues = queues
        self._drain_timeout = drain_timeout

    def sweep(self, now: float) -> None:
        """Give every command that is due by `now` (monotonic seconds) its verdict."""
        for queue in list(self._queues.active.values()):
            self._commands.follow(queue, queue.sample())
            if queue.overdue(now, self._drain_timeout):
                self._effects.add(Close(queue.link, TAINTED))
        for in_flight in self._commands.responses.due(now):
            expects = in_flight.request.expect_response
            reason: CommandReason = RESPONSE_TIMEOUT if expects else DELIVERY_TIMEOUT
            facts: Facts = {"reason": reason, "acknowledged": in_flight.received}
            self._commands.propose(Proposal(in_flight, "time_out", facts))
        for in_flight in self._commands.expiries.due(now):
            self._commands.meet(in_flight, "expiry")
        for in_flight in self._queues.graces.due(now):
            if in_flight.pending is not None or in_flight.moving:
                # An outcome is awaited, and the device may come back meanwhile: check again later.
                self._queues.graces.set(in_flight, now + 1.0)
            else:
                self._commands.meet(in_flight, "absence")
        self._queues.offline.forget(now)

    def stop(self) -> None:
        """Send nothing new; commands that are not written fail `gateway_shutdown` or are parked."""
        self._commands.stopping = True
        for in_flight in sorted(self._commands.entries, key=lambda one: one.place):
            self._commands.meet(in_flight, "shutdown")

    @property
    def draining(self) -> int:
        """How many commands the shutdown waits for: they are written and have no verdict."""
        return sum(fire_for("drain_over", one.stage) is not None for one in self._commands.entries)

    def give_up(self) -> None:
        """The time to drain is over: commands that are written fail `gateway_shutdown`."""
        for in_flight in self._commands.entries:
            self._commands.meet(in_flight, "drain_over")
