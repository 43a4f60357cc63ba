"""Mechanisms of commands that come, again or for the first time."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="an entry in hand says nothing new",
        what="The redelivery of an entry that is in hand is dropped.",
        file="transport/commands/consumer.py",
        where="CommandConsumer.take",
        code="""
            if outbound_id in self._entries:
                return
        """,
        mutant="",
        without="a command is begun twice in one process",
        tests=("transport/test_consumer.py::test_what_is_not_answered_yet_is_not_answered_twice",),
    ),
    Mechanism(
        promise="P1",
        name="a redelivery is asked about before it is sent",
        what="Only a first delivery may have its `sent` travel with its `queued`.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._line_up",
        code="queue.idle and link.writable and in_flight.fresh and not self._commands.stopping",
        mutant="queue.idle and link.writable and not self._commands.stopping",
        without="a command that was queued before a restart is judged `sent` in one call with its begin",
        tests=("transport/test_consumer_redeliveries.py::test_a_redelivery_reads_the_ledger_first",),
    ),
    Mechanism(
        promise="P1",
        name="sent before a restart",
        what="A command that an earlier process had committed as `sent` is never written again.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._settle_in",
        code="""
            if in_flight.command.state == SENT:
                self._commands.propose(in_flight, 'fail', reason=GATEWAY_RESTART)
            else:
                ...
        """,
        mutant="...",
        without="it is left out, without a verdict, or is written again",
        tests=("transport/test_consumer.py::test_an_earlier_sent_command_is_never_written_again",),
    ),
    Mechanism(
        promise="P1",
        name="whose move is it",
        what="A redelivery is believed to be our own repeated call only by its token.",
        file="transport/commands/consumer.py",
        where="CommandConsumer.opened",
        code="result.status is Status.REDELIVERED and opening.made(result.token)",
        mutant="result.status is Status.REDELIVERED",
        without="a command from before a restart is taken for one that has just begun",
        tests=("transport/test_consumer.py::test_a_sent_command_in_a_new_entry_is_not_written",),
    ),
    Mechanism(
        promise="P2",
        name="the entry of an ended command is removed",
        what="A redelivered entry whose command has its verdict is taken off the stream.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._recover",
        code="self._effects.submit(Discard(in_flight.entry, ignore))",
        mutant="",
        without="it is read again for ever",
        tests=("transport/test_consumer.py::test_the_entry_of_an_ended_command_is_removed",),
    ),
    Mechanism(
        promise="P3",
        name="never accepted after its expiry",
        what="A command that expired on its way is ended when it is read.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._first_event",
        code="self._clock.now_ms() >= request.expires_at",
        mutant="False",
        without="it is queued first",
        tests=("transport/test_consumer.py::test_an_entry_that_expired_on_the_way_is_ended_at_once",),
    ),
    Mechanism(
        promise="faults",
        name="not connected here",
        what="A command for a device that is not expected here is refused at once.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._first_event",
        code="not self._queues.awaits(imei)",
        mutant="False",
        without="its producer waits for the grace",
        tests=("transport/test_connections.py::test_a_command_is_accepted_within_the_reconnect_grace",),
    ),
    Mechanism(
        promise="security",
        name="the verb is asked for",
        what="A command with a verb that is not allowed is refused before anything else.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._first_event",
        code="not self._allowed(request)",
        mutant="False",
        without="the option does nothing",
        tests=("transport/test_verbs.py::test_a_forbidden_command_is_refused_and_never_written",),
    ),
    Mechanism(
        promise="bounds",
        name="commands in hand are bounded",
        what="At `--commands-limit` nothing new is read until a tenth is free.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher.may_read",
        code="not self._consumer.full and self._ledger.healthy",
        mutant="self._ledger.healthy",
        without="the whole stream is taken into memory",
        tests=("transport/test_consumer.py::test_above_the_limit_nothing_new_is_read_until_a_tenth_is_free",),
    ),
    Mechanism(
        promise="P2",
        name="nothing is read while nothing can be stored",
        what="While Redis refuses writes nothing new is read.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher.may_read",
        code="not self._consumer.full and self._ledger.healthy",
        mutant="not self._consumer.full",
        without="commands pile up that cannot even be accepted",
        tests=("transport/test_consumer.py::test_while_the_ledger_is_refused_nothing_new_is_read",),
    ),
    Mechanism(
        promise="faults",
        name="in doubt until the registry is read",
        what="A command that came before the registry was read ends when its device is not expected.",
        file="transport/commands/device_queues.py",
        where="DeviceQueues.recalled",
        code="""
            for in_flight in self.offline.recalled(now):
                self.graces.set(in_flight, now)
        """,
        mutant="self.offline.recalled(now)",
        without="it waits for the grace though nobody will come",
        tests=("transport/test_recall.py::test_commands_before_the_registry_is_read_wait_for_it",),
    ),
    Mechanism(
        promise="faults",
        name="a start is a grace",
        what="A process that has just started expects the devices that the registry names as its own.",
        file="transport/commands/offline.py",
        where="OfflineCommands.expected",
        code="now < self._until and (self._reading or imei in self._ours)",
        mutant="False",
        without="after a restart commands for devices on their way back are refused",
        tests=("transport/test_connections.py::test_a_command_is_accepted_within_the_grace_of_the_start",),
    ),
    Mechanism(
        promise="P3",
        name="expired while nobody was there",
        what="A queued command whose time ran out between two processes expires.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._settle_in",
        code="""
            if self._clock.now_ms() >= in_flight.request.expires_at:
                self._commands.propose(in_flight, 'expire', reason=EXPIRED)
            else:
                ...
        """,
        mutant="...",
        without="it is begun",
        tests=("transport/test_consumer.py::test_an_expired_command_of_an_earlier_process_expires",),
    ),
    Mechanism(
        promise="P2",
        name="a command that todays limits refuse",
        what="A command that an earlier process took and today's limits refuse still comes to its end.",
        file="transport/commands/consumer.py",
        where="CommandConsumer.refused",
        code="self._end_of_redelivered(entry, event, result)",
        mutant="",
        without="it is read again for ever",
        tests=("transport/test_consumer.py::test_a_command_beyond_the_present_limits_still_ends",),
    ),
    Mechanism(
        promise="P3",
        name="the first word tells the time",
        what="The reply to a command's first move measures the clock of Redis.",
        file="transport/commands/consumer.py",
        where="CommandConsumer.opened",
        code="self._commands.heard(in_flight, result)",
        mutant="",
        without="commands are judged by a clock that is as old as the last heartbeat",
        tests=("transport/test_device_queue_writes.py::test_the_first_reply_of_the_ledger_sets_the_time",),
    ),
)
