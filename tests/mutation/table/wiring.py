"""Mechanisms of how the parts of a gateway are joined, and of its last seconds."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="faults",
        name="a registry that is away ends nothing",
        what="Devices that cannot be looked up are looked up again.",
        file="transport/daemon/recurring.py",
        where="hand_over",
        code="""
            try:
                ...
            except StoreError as error:
                backend.report('relocation', error)
        """,
        mutant="""
            try:
                ...
            except ZeroDivisionError as error:
                backend.report('relocation', error)
        """,
        without="the first failed call ends the process",
        tests=("transport/test_gateway_tasks.py::test_a_registry_that_cannot_be_asked_is_asked_again",),
    ),
    Mechanism(
        promise="bounds",
        name="the last read of the stream is bounded",
        what="The last read of the stream has a time limit.",
        file="transport/daemon/gateway.py",
        where="Gateway._stop_commands",
        code="""
            async with asyncio.timeout(LAST_READ_TIMEOUT):
                ...
        """,
        mutant="""
            if True:
                ...
        """,
        without="a Redis that does not reply holds up the stop",
        tests=("transport/test_gateway_tasks.py::test_a_hanging_last_read_is_given_up",),
    ),
    Mechanism(
        promise="P5",
        name="one reader at a time",
        what="The last read begins after the reader has ended.",
        file="transport/daemon/gateway.py",
        where="Gateway._stop_commands",
        code='await self._tasks.ended("reader", LAST_READ_TIMEOUT)',
        mutant="pass",
        without="two read at once, and commands come in an order of their own",
        tests=("transport/test_gateway_tasks.py::test_the_last_read_comes_after_the_reader_ended",),
    ),
    Mechanism(
        promise="P7",
        name="sockets close by themselves first",
        what="Sockets have a second to send what is written.",
        file="transport/daemon/gateway.py",
        where="Gateway._close_sockets",
        code="await until(lambda: not self.sessions.connected, 1.0)",
        mutant="",
        without="the last acknowledgements are cut off",
        tests=(("transport/test_gateway_tasks.py::test_sockets_have_time_to_close_before_they_are_aborted"),),
    ),
    Mechanism(
        promise="registry",
        name="an adopter moves for the dead instance",
        what="What an adopter moves counts as a move of the dead instance.",
        file="transport/daemon/backend.py",
        where="Backend._adopt",
        code="self._janitors_ledger(dead)",
        mutant="self._janitors_ledger()",
        without="it moves commands of an instance that is alive",
        tests=(("transport/test_backend.py::test_an_adopter_moves_only_while_it_owns_its_own_id"),),
    ),
    Mechanism(
        promise="P1",
        name="moves wait for the takeover",
        what="The ledger of a gateway carries out nothing before the instance id is its own.",
        file="transport/daemon/backend.py",
        where="Backend.__init__",
        code='Ledger(self.clients["ledger"], self.keys, instance_id, boot_id, retention=settings.retention, on_error=partial(self.report, "ledger"), on_fenced=on_fenced, owns=self._owns, on_appended=appended)',
        mutant='Ledger(self.clients["ledger"], self.keys, instance_id, boot_id, retention=settings.retention, on_error=partial(self.report, "ledger"), on_fenced=on_fenced, on_appended=appended)',
        without="a process that could not take over yet takes an earlier owner for a newer one, and ends",
        tests=("transport/test_backend.py::test_no_move_is_made_before_the_id_is_owned",),
    ),
    Mechanism(
        promise="P3",
        name="unsent is unacknowledged",
        what="What has not reached the kernel is not acknowledged either.",
        file="transport/connection/tcp.py",
        where="unacknowledged",
        code="int(queued) + transport.get_write_buffer_size()",
        mutant="int(queued)",
        without="a command that was never sent is `delivered`",
        tests=(("transport/test_tcp.py::test_bytes_outside_the_kernel_are_not_acknowledged"),),
    ),
    Mechanism(
        promise="registry",
        name="a replaced process sends no heartbeat",
        what="A process that any part of Redis has told that it was replaced ends its heartbeat.",
        file="transport/daemon/gateway.py",
        where="Gateway._on_fenced",
        code="self.backend.heartbeat.stop()",
        mutant="",
        without="while it stops it takes the id from a successor that is cut off, and both end",
        tests=("transport/test_gateway_life.py::test_a_fenced_gateway_renews_no_heartbeat_while_stopping",),
    ),
    Mechanism(
        promise="registry",
        name="a heartbeat that has stopped is not revived",
        what="A heartbeat that was stopped is not revived by a request for one heartbeat.",
        file="store/fleet/heartbeat.py",
        where="Heartbeat.renew",
        code="if self._stop.is_set(): ...",
        mutant="",
        without="a process that slept takes the id from a successor that is cut off",
        tests=("store/test_takeover.py::test_a_fenced_process_takes_nothing_from_an_unseen_successor",),
    ),
)
