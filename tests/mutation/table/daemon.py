"""Mechanisms of the process: the order in which it starts and stops, and what ends it."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="ports before the instance id",
        what="A process that cannot have its port finds out before it takes the instance id over.",
        file="transport/daemon/gateway.py",
        where="Gateway.run",
        code="self._listeners.bind()",
        mutant="",
        without="a second start by mistake ends the first process",
        tests=(
            "transport/test_gateway_order.py::"
            "test_the_ports_come_first_then_the_instance_id_then_the_devices",
        ),
    ),
    Mechanism(
        promise="P2",
        name="heartbeat before the listener",
        what="The heartbeat is written before any device can connect.",
        file="transport/daemon/claim.py",
        where="Claim.make",
        code="await self._backend.heartbeat.take_over()",
        mutant="",
        without="a janitor takes a process with devices for dead",
        tests=(
            "transport/test_gateway_order.py::"
            "test_the_ports_come_first_then_the_instance_id_then_the_devices",
        ),
    ),
    Mechanism(
        promise="P2",
        name="degraded, not down",
        what="A start while Redis is away serves devices all the same.",
        file="transport/daemon/claim.py",
        where="Claim.make",
        code='self._backend.report("heartbeat", error)',
        mutant="raise",
        without="the gateway does not start",
        tests=(
            "transport/test_gateway_order.py::"
            "test_the_ports_come_first_then_the_instance_id_then_the_devices[without]",
        ),
    ),
    Mechanism(
        promise="registry",
        name="reconcile",
        what="At each heartbeat the registry is told again which devices are here.",
        file="transport/daemon/recurring.py",
        where="reconcile",
        code="await reconcile_some(sessions, registrar, imeis[start : start + RECONCILE])",
        mutant="",
        without="devices that came while Redis was away are never found",
        tests=("transport/test_gateway_life.py::test_at_a_beat_the_registry_is_told_who_is_here",),
    ),
    Mechanism(
        promise="registry",
        name="reconcile those that are still here",
        what="A device that has left meanwhile is not registered again.",
        file="transport/daemon/recurring.py",
        where="reconcile_some",
        code="""
            links = [link for imei in imeis if (link := sessions.by_imei.get(imei))]
            held = [(link.imei, link.session_id) for link in links]
        """,
        mutant='held = [(imei, link.session_id if (link := sessions.by_imei.get(imei)) else "") for imei in imeis]',
        without="its entry names an instance that does not hold it",
        tests=("transport/test_recurring.py::test_a_device_that_has_left_meanwhile_is_not_registered_again",),
    ),
    Mechanism(
        promise="faults",
        name="read before the deadlines after a stall",
        what="After a stall the sockets are read once before deadlines are judged.",
        file="transport/daemon/recurring.py",
        where="sweep",
        code="""
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        """,
        mutant="pass",
        without="an answer that is here counts as late",
        tests=(
            "transport/test_gateway_life.py::"
            "test_after_a_stall_what_has_arrived_is_read_before_the_deadlines",
        ),
    ),
    Mechanism(
        promise="faults",
        name="what is read after a stall is young",
        what="After a stall the sessions's clock is set before the sockets are read.",
        file="transport/daemon/recurring.py",
        where="sweep",
        code="sessions.now = clock.monotonic()",
        mutant="",
        without="with `--idle-timeout` a frozen gateway sends away devices that report",
        tests=(
            "transport/test_gateway_life.py::"
            "test_after_a_stall_what_has_arrived_is_read_before_the_deadlines",
        ),
    ),
    Mechanism(
        promise="P1",
        name="fenced means over",
        what="A process that was replaced closes its sessions `fenced` and exits 3.",
        file="transport/daemon/gateway.py",
        where="Gateway._on_fenced",
        code="""
            self._fenced = True
            self.exit_status = EXIT_FENCED
            self._stop.set()
        """,
        mutant="",
        without="it goes on beside its successor",
        tests=(
            "transport/test_gateway_order.py::"
            "test_a_process_that_was_replaced_lets_go_of_everything_and_exits_3",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a task that keeps failing ends the process",
        what="A task that has failed three times in a minute ends the process, in order.",
        file="transport/tasks.py",
        where="Tasks._keep_running",
        code="self._on_crash(name)",
        mutant="pass",
        without="a gateway without its ledger stays up",
        tests=("transport/test_gateway_life.py::test_a_task_that_keeps_failing_ends_the_process",),
    ),
    Mechanism(
        promise="faults",
        name="a lost connection is not used",
        what="A connection that has ended is closed before a call, and never handed out.",
        file="store/client/connection.py",
        where="LossyConnection.unusable",
        code="bool(writer.transport.is_closing() or reader.at_eof() or reader.exception() is not None)",
        mutant="False and bool(writer.transport.is_closing() or reader.at_eof() or reader.exception() is not None)",
        without="a reset of idle connections ends in an error of every task",
        tests=("store/test_connection.py::test_a_connection_that_was_reset_while_idle_is_replaced[uvloop]",),
    ),
    Mechanism(
        promise="registry",
        name="unregistered first",
        what="At SIGTERM the registry is told before anything else ends.",
        file="transport/daemon/gateway.py",
        where="Gateway._shut_down",
        code="await self.backend.registrar.unregister_all(held, within=FLUSH_TIMEOUT)",
        mutant="",
        without="producers go on sending to an instance that stops",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="registry",
        name="nobody new in a gateway that stops",
        what="At SIGTERM connections without a name are closed, and no new ones taken.",
        file="transport/daemon/gateway.py",
        where="Gateway._shut_down",
        code="self.sessions.refuse_unidentified()",
        mutant="",
        without="a device registers after the registry was cleared",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="a last look at the stream",
        what="At SIGTERM what has come until then is read and answered.",
        file="transport/daemon/gateway.py",
        where="Gateway._stop_commands",
        code="await self.reader.sweep()",
        mutant="",
        without="a command that came at the last moment waits for an adopter",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="drain",
        what="At SIGTERM the answers to what is out are waited for.",
        file="transport/daemon/gateway.py",
        where="Gateway._drain_commands",
        code="await _until(lambda: not self.dispatcher.draining, self.settings.shutdown_timeout)",
        mutant="",
        without="commands that a moment would have answered fail",
        tests=("transport/test_gateway_order.py::test_what_is_out_is_waited_for_before_it_is_given_up",),
    ),
    Mechanism(
        promise="P7",
        name="deaf before the last records",
        what="At SIGTERM no device is read any more when the last telemetry is stored.",
        file="transport/daemon/gateway.py",
        where="Gateway._flush",
        code="self.sessions.pause_reading()",
        mutant="",
        without="a frame is read that will not be acknowledged",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="verdicts are saved",
        what="At SIGTERM the process waits until its verdicts are stored, five seconds at most.",
        file="transport/daemon/gateway.py",
        where="Gateway._flush",
        code="backend.ledger.flush(FLUSH_TIMEOUT)",
        mutant="backend.ledger.flush(0.0)",
        without="they are left to the next start",
        tests=("transport/test_gateway_order.py::test_the_last_verdicts_have_as_long_as_the_last_records",),
    ),
    Mechanism(
        promise="P2",
        name="the heartbeat goes last",
        what="At SIGTERM the heartbeat is released, so that an adopter need not wait.",
        file="transport/daemon/gateway.py",
        where="Gateway._shut_down",
        code="await self.backend.heartbeat.release()",
        mutant="",
        without="what is left waits for the heartbeat to expire",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="errors are trouble",
        what="A call that failed anywhere in the process is told to the janitor.",
        file="transport/daemon/backend.py",
        where="Backend.report",
        code="self.janitor.trouble()",
        mutant="",
        without="a janitor that is cut off takes the fleet for dead",
        tests=(
            "transport/test_gateway_life.py::test_a_call_that_could_not_be_made_is_trouble_for_the_janitor",
        ),
    ),
    Mechanism(
        promise="P3",
        name="every beat tells the time",
        what="At each heartbeat the offset to Redis' clock is measured.",
        file="transport/daemon/gateway.py",
        where="Gateway._on_renewed",
        code="self.clock.sync(redis_ms)",
        mutant="",
        without="between commands the clocks drift apart",
        tests=("transport/test_gateway_life.py::test_a_beat_tells_the_time_of_redis",),
    ),
    Mechanism(
        promise="P1",
        name="a stop does not take over",
        what="A process that never owned its instance id does not take it over while it ends.",
        file="transport/daemon/gateway.py",
        where="Gateway._shut_down",
        code="not self.backend.heartbeat.taken",
        mutant="False",
        without="it fences the process that was started in its place",
        tests=(
            "transport/test_gateway_order.py::"
            "test_a_gateway_that_never_owned_its_instance_id_takes_over_nothing_while_it_stops",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a cancellation that was lost",
        what="A task that loses a cancellation, as Python 3.11 may inside a socket call, is cancelled again.",
        file="transport/tasks.py",
        where="Tasks._cancel",
        code="range(20)",
        mutant="range(1)",
        without="the process does not end",
        tests=("transport/test_gateway_life.py::test_a_task_that_loses_its_cancellation_is_cancelled_again",),
    ),
    Mechanism(
        promise="P2",
        name="an embedded server keeps what it confirms",
        what="The embedded server logs every write.",
        file="store/embedded.py",
        where="EmbeddedServer._options",
        code='("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")',
        mutant='("--appendonly", "no", "--save", "", "--maxmemory-policy", "noeviction")',
        without="its restart forgets which commands were sent",
        tests=("redis/test_embedded.py::test_it_never_evicts_and_logs_every_write",),
    ),
    Mechanism(
        promise="P7",
        name="a dead embedded server is started again",
        what="When the embedded server dies it is started again.",
        file="transport/daemon/embedded_watch.py",
        where="watch",
        code="await _restart(server)",
        mutant="",
        without="nothing is stored nor acknowledged until somebody starts the gateway again",
        tests=(
            "process/test_embedded_server.py::"
            "test_a_killed_server_is_started_again_with_its_data_and_the_devices_stay[uvloop]",
        ),
    ),
    Mechanism(
        promise="security",
        name="the embedded server is its owner's",
        what="A state directory that others may enter is narrowed before anything is put there.",
        file="store/state_directory.py",
        where="StateDirectory.claim",
        code="self._narrow()",
        mutant="",
        without="every user of the machine reads the commands and moves the vehicles",
        tests=("redis/test_embedded.py::test_a_directory_that_others_may_enter_is_narrowed",),
    ),
    Mechanism(
        promise="P6",
        name="a check is only a check",
        what="A server that answers the check at the start strangely ends nothing.",
        file="transport/daemon/checkup.py",
        where="check_up",
        code="""
            backend.report("check", error)
            return
        """,
        mutant="raise",
        without="the gateway ends a moment after it has begun",
        tests=("transport/test_gateway_life.py::test_a_check_that_fails_is_told_and_ends_nothing",),
    ),
    Mechanism(
        promise="P6",
        name="garbage is looked for seldom",
        what="What lives as long as the process is not looked through, and old objects are seldom.",
        file="transport/daemon/process.py",
        where="serve",
        code="_make_full_collections_rare()",
        mutant="",
        without="every device waits while Python looks through thousands of connections",
        tests=("transport/test_process.py::test_full_garbage_collections_are_rare",),
    ),
    Mechanism(
        promise="faults",
        name="a log is nobody's business",
        what="Lines of the log are written by a thread of their own.",
        file="transport/logs.py",
        where="_put",
        code='return lambda line: writer.write(line.encode(encoding, errors="backslashreplace"))',
        mutant="""
            assert out is not None
            return lambda line: (out.write(line), out.flush())
        """,
        without="a reader that dies, or does not read, stops the gateway",
        tests=(
            "process/test_log_faults.py::"
            "test_a_log_that_cannot_be_written_breaks_no_promise_and_holds_up_no_end[Full]",
        ),
    ),
)
