"""Mechanisms of the process: the order in which it starts and stops, and what ends it."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="ports before the instance id",
        what="A process that cannot have its port finds out before it takes the instance id over.",
        file="transport/daemon/gateway.py",
        text="        self._listeners.bind()\n        await self._begin()\n",
        mutant="        await self._begin()\n        self._listeners.bind()\n",
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
        file="transport/daemon/gateway.py",
        text="            await self.backend.heartbeat.take_over()\n        except",
        mutant="            pass\n        except",
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
        file="transport/daemon/gateway.py",
        text='            self.backend.report("heartbeat", error)\n            log.warning("degraded"',
        mutant='            raise\n            log.warning("degraded"',
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
        file="transport/daemon/gateway.py",
        text="                await self._reconcile_some(imeis[start : start + RECONCILE])\n",
        mutant="                pass\n",
        without="devices that came while Redis was away are never found",
        tests=("transport/test_gateway_life.py::test_at_a_beat_the_registry_is_told_who_is_here",),
    ),
    Mechanism(
        promise="registry",
        name="reconcile those that are still here",
        what="A device that has left meanwhile is not registered again.",
        file="transport/daemon/gateway.py",
        text=(
            "        links = [link for imei in imeis if (link := self.hub.sessions.get(imei))]\n"
            "        held = [(link.imei, link.session_id) for link in links]\n"
        ),
        mutant=(
            "        held = [(imei, link.session_id if (link := self.hub.sessions.get(imei)) "
            'else "") for imei in imeis]\n'
        ),
        without="its entry names an instance that does not hold it",
        tests=("transport/test_reconcile.py::test_a_device_that_has_left_meanwhile_is_not_registered_again",),
    ),
    Mechanism(
        promise="faults",
        name="read before the deadlines after a stall",
        what="After a stall the sockets are read once before deadlines are judged.",
        file="transport/daemon/gateway.py",
        text=(
            "                await asyncio.sleep(0)\n                await asyncio.sleep(0)\n            now"
        ),
        mutant="                pass\n            now",
        without="an answer that is here counts as late",
        tests=(
            "transport/test_gateway_life.py::"
            "test_after_a_stall_what_has_arrived_is_read_before_the_deadlines",
        ),
    ),
    Mechanism(
        promise="faults",
        name="what is read after a stall is young",
        what="After a stall the hub's clock is set before the sockets are read.",
        file="transport/daemon/gateway.py",
        text="                self.hub.now = self.clock.monotonic()\n",
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
        text=(
            "            self.exit_status = EXIT_FENCED\n"
            '            log.critical("fenced", instance_id=self.settings.instance_id)\n'
            "            self._stop.set()\n"
        ),
        mutant="            pass\n",
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
        text="                self._on_crash(name)\n",
        mutant="                pass\n",
        without="a gateway without its ledger stays up",
        tests=("transport/test_gateway_life.py::test_a_task_that_keeps_failing_ends_the_process",),
    ),
    Mechanism(
        promise="faults",
        name="a lost connection is not used",
        what="A connection that has ended is closed before a call, and never handed out.",
        file="store/connection.py",
        text="        return bool(writer.transport",
        mutant="        return False and bool(writer.transport",
        without="a reset of idle connections ends in an error of every task",
        tests=("store/test_connection.py::test_a_connection_that_was_reset_while_idle_is_replaced[uvloop]",),
    ),
    Mechanism(
        promise="registry",
        name="unregistered first",
        what="At SIGTERM the registry is told before anything else ends.",
        file="transport/daemon/gateway.py",
        text="        await self.backend.registrar.unregister_all(held, within=FLUSH_TIMEOUT)\n",
        mutant="",
        without="producers go on sending to an instance that stops",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="registry",
        name="nobody new in a gateway that stops",
        what="At SIGTERM connections without a name are closed, and no new ones taken.",
        file="transport/daemon/gateway.py",
        text="        self.hub.refuse_strangers()\n",
        mutant="",
        without="a device registers after the registry was cleared",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="a last look at the stream",
        what="At SIGTERM what has come until then is read and answered.",
        file="transport/daemon/gateway.py",
        text="                    await self.reader.sweep()\n",
        mutant="                    pass\n",
        without="a command that came at the last moment waits for an heir",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="drain",
        what="At SIGTERM the answers to what is out are waited for.",
        file="transport/daemon/gateway.py",
        text="        await _until(lambda: not self.dispatcher.draining, self.settings.shutdown_timeout)\n",
        mutant="",
        without="commands that a moment would have answered fail",
        tests=("transport/test_gateway_order.py::test_what_is_out_is_waited_for_before_it_is_given_up",),
    ),
    Mechanism(
        promise="P7",
        name="deaf before the last records",
        what="At SIGTERM no device is read any more when the last telemetry is stored.",
        file="transport/daemon/gateway.py",
        text="        self.hub.deafen()\n",
        mutant="",
        without="a frame is read that will not be acknowledged",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="verdicts are saved",
        what="At SIGTERM the process waits until its verdicts are stored, five seconds at most.",
        file="transport/daemon/gateway.py",
        text="            moves = group.create_task(backend.ledger.flush(FLUSH_TIMEOUT))\n",
        mutant="            moves = group.create_task(backend.ledger.flush(0.0))\n",
        without="they are left to the next start",
        tests=("transport/test_gateway_order.py::test_the_last_verdicts_have_as_long_as_the_last_records",),
    ),
    Mechanism(
        promise="P2",
        name="the heartbeat goes last",
        what="At SIGTERM the heartbeat is released, so that an heir need not wait.",
        file="transport/daemon/gateway.py",
        text="            await self.backend.heartbeat.release()\n",
        mutant="            pass\n",
        without="what is left waits for the heartbeat to expire",
        tests=("transport/test_gateway_order.py::test_a_gateway_stops_in_order",),
    ),
    Mechanism(
        promise="P2",
        name="errors are trouble",
        what="A call that failed anywhere in the process is told to the janitor.",
        file="transport/daemon/backend.py",
        text="            self.janitor.trouble()\n            self.heartbeat.hasten()\n            if",
        mutant="            self.heartbeat.hasten()\n            if",
        without="a janitor that is cut off takes the fleet for dead",
        tests=(
            "transport/test_gateway_life.py::test_a_call_that_could_not_be_made_is_trouble_for_the_janitor",
        ),
    ),
    Mechanism(
        promise="faults",
        name="a second signal ends it",
        what="A second SIGTERM ends the process at once, with status 130.",
        file="transport/daemon/process.py",
        text="        if seen > 1:\n",
        mutant="        if False:\n",
        without="an operator in a hurry has to kill it",
        tests=("transport/test_gateway_life.py::test_the_second_signal_ends_the_process_at_once",),
    ),
    Mechanism(
        promise="P3",
        name="every beat tells the time",
        what="At each heartbeat the offset to Redis' clock is measured.",
        file="transport/daemon/gateway.py",
        text="        self.clock.sync(redis_ms)\n",
        mutant="",
        without="between commands the clocks drift apart",
        tests=("transport/test_gateway_life.py::test_a_beat_tells_the_time_of_redis",),
    ),
    Mechanism(
        promise="P1",
        name="a stop does not take over",
        what="A process that never owned its instance id does not take it over while it ends.",
        file="transport/daemon/gateway.py",
        text="        if not self.backend.heartbeat.taken:\n            self.backend.heartbeat.stop()",
        mutant="        if False:\n            self.backend.heartbeat.stop()",
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
        text="        for _ in range(20):\n",
        mutant="        for _ in range(1):\n",
        without="the process does not end",
        tests=("transport/test_gateway_life.py::test_a_task_that_loses_its_cancellation_is_cancelled_again",),
    ),
    Mechanism(
        promise="bounds",
        name="an outage is told now and then",
        what="The same kind of error is logged once in ten seconds.",
        file="transport/daemon/backend.py",
        text="        if now - self._reported.get((part, name), -REPORT_EVERY) >= REPORT_EVERY:\n",
        mutant="        if True:\n",
        without="an outage writes a line for each failed call",
        tests=("transport/test_gateway_life.py::test_of_many_errors_of_a_kind_one_is_told",),
    ),
    Mechanism(
        promise="P2",
        name="an embedded server keeps what it confirms",
        what="The embedded server logs every write.",
        file="store/embedded.py",
        text='"--appendonly", "yes"',
        mutant='"--appendonly", "no"',
        without="its restart forgets which commands were sent",
        tests=("redis/test_embedded.py::test_it_never_evicts_and_logs_every_write",),
    ),
    Mechanism(
        promise="P6",
        name="a check is only a check",
        what="A server that answers the check at the start strangely ends nothing.",
        file="transport/daemon/checkup.py",
        text='        backend.report("check", error)\n        return\n',
        mutant="        raise\n",
        without="the gateway ends a moment after it has begun",
        tests=("transport/test_gateway_life.py::test_a_check_that_fails_is_told_and_ends_nothing",),
    ),
    Mechanism(
        promise="P6",
        name="garbage is looked for seldom",
        what="What lives as long as the process is not looked through, and old objects are seldom.",
        file="transport/daemon/process.py",
        text="        _look_for_garbage_seldom()\n",
        mutant="",
        without="every device waits while Python looks through thousands of connections",
        tests=(
            "transport/test_garbage.py::"
            "test_what_lives_as_long_as_the_process_is_not_looked_through_and_old_objects_are_seldom",
        ),
    ),
    Mechanism(
        promise="faults",
        name="a log is nobody's business",
        what="Lines of the log are written by a thread of their own.",
        file="transport/logs.py",
        text='    return lambda line: writer.write(line.encode(encoding, errors="backslashreplace"))\n',
        mutant="    assert out is not None\n    return lambda line: (out.write(line), out.flush())\n",
        without="a reader that dies, or does not read, stops the gateway",
        tests=(
            "process/test_log_faults.py::"
            "test_a_log_that_cannot_be_written_breaks_no_promise_and_holds_up_no_end[Full]",
        ),
    ),
)
