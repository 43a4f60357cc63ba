"""Mechanisms of the queue: when a command is begun, written or given up."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P1",
        name="sent before the write",
        what="`sent` is in the log before the command is written.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.advance",
        code="codec = codec_for(in_flight.request.codec, self.link.speaks)",
        mutant="""
            codec = codec_for(in_flight.request.codec, self.link.speaks)
            request = in_flight.request
            self.link.send(encode_command(CODEC_IDS[codec], request.imei, request.payload))
        """,
        without="it is written first, and a crash in between sends it again",
        tests=("transport/test_device_queue.py::test_of_twenty_commands_one_is_out_at_any_time",),
    ),
    Mechanism(
        promise="P1",
        name="sent before the write, in one call",
        what="Where `queued` and `sent` travel together the write waits for them too.",
        file="transport/commands/consumer.py",
        where="CommandConsumer._line_up",
        code="""
            send = decide(
                evolve(in_flight.command, accepted),
                "send",
                request=in_flight.request,
                session_id=link.session_id,
                codec=codec_for(in_flight.request.codec, link.speaks),
                origin=link.origin,
            )
        """,
        mutant="""
            in_flight.pending = None
            in_flight.command = __import__("dataclasses").replace(in_flight.command, codec="12")
            self._commands.follow(queue, queue._write())
            send = decide(evolve(in_flight.command, accepted), 'send', request=in_flight.request, session_id=link.session_id, codec=codec_for(in_flight.request.codec, link.speaks), origin=link.origin)
        """,
        without="it is written before anything is stored",
        tests=("transport/test_dispatcher.py::test_nothing_is_written_before_sent_is_committed",),
    ),
    Mechanism(
        promise="P1",
        name="nothing uncommitted is written",
        what="A command of which a move is on its way is not written.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue._write",
        code="in_flight is None or in_flight.pending is not None",
        mutant="in_flight is None",
        without="a command whose outcome is on its way is written",
        tests=(
            "transport/test_device_queue_writes.py::test_a_command_of_which_a_move_is_on_its_way_is_not_written",
        ),
    ),
    Mechanism(
        promise="P3",
        name="a closed connection withdraws",
        what="A command whose connection closed while `sent` was being committed is withdrawn.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.committed",
        code='return in_flight.at("disconnect", self._close_reason)',
        mutant="return None",
        without="it stays `sent` until it times out",
        tests=("transport/test_connections.py::test_a_close_before_the_commit_withdraws_the_command",),
    ),
    Mechanism(
        promise="P3",
        name="a shutdown withdraws",
        what="A command that is committed while the gateway stops is withdrawn.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.committed",
        code="""
            if stopping:
                return in_flight.at("shutdown")
        """,
        mutant="",
        without="it is written by a gateway that will not hear the answer",
        tests=("transport/test_shutdown.py::test_a_command_whose_sent_is_not_committed_is_withdrawn",),
    ),
    Mechanism(
        promise="P3",
        name="expired during the commit",
        what="A command that expired while `sent` was being committed is withdrawn.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.committed",
        code="""
            if self._expired(in_flight):
                return in_flight.at("expiry")
        """,
        mutant="",
        without="it waits in the slot of a connection that is between frames",
        tests=("transport/test_device_queue_writes.py::test_a_late_commit_is_withdrawn_before_a_sweep",),
    ),
    Mechanism(
        promise="P3",
        name="never written after its expiry",
        what="The expiry is checked in the step that writes.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue._write",
        code="""
            if self._expired(in_flight):
                return in_flight.at("expiry")
        """,
        mutant="",
        without="a command that waited for the end of a frame is written too late",
        tests=(
            "transport/test_device_queue_writes.py::test_an_expired_command_is_not_written_before_a_sweep",
        ),
    ),
    Mechanism(
        promise="P7",
        name="only between frames",
        what="A command is begun and written only while the connection is ready and between frames.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.advance",
        code="not self.link.writable",
        mutant="self.link.closed",
        without="it stands where the device reads an acknowledgement",
        tests=(
            "transport/test_device_queue.py::test_nothing_begins_during_or_before_ack_of_a_frame",
            "transport/test_device_queue.py::test_a_committed_command_is_not_written_into_a_frame",
        ),
    ),
    Mechanism(
        promise="P5",
        name="the first in the queue is awaited",
        what="Nothing passes the first command in line while a move of it is on its way.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.advance",
        code="self.writes.free and self.writes.waiting and self.writes.waiting[0].pending is None",
        mutant="self.writes.free and self.writes.waiting",
        without="it is begun twice",
        tests=(
            "transport/test_device_queue_writes.py::test_nothing_begins_while_the_first_is_being_accepted",
        ),
    ),
    Mechanism(
        promise="P5",
        name="in stream order",
        what="A command that comes back from elsewhere takes the place it has in the stream.",
        file="transport/commands/in_flight_command.py",
        where="insert",
        code="while at and line[at - 1].place > in_flight.place: ...",
        mutant="",
        without="it waits at the end",
        tests=("transport/test_connections.py::test_a_withdrawn_hand_over_keeps_the_place_in_the_queue",),
    ),
    Mechanism(
        promise="P3",
        name="a written command may have been sent",
        what="A written command whose connection closes fails, an unwritten one is withdrawn.",
        file="fsm/policies.py",
        where="stage_of",
        code="_WHEN_WRITTEN.get(state, state) if written else state",
        mutant="state",
        without="a command that is out is told `not_sent`",
        tests=("transport/test_connections.py::test_a_written_command_fails_with_its_connection",),
    ),
    Mechanism(
        promise="P3",
        name="the kernel is asked",
        what="`received` and `delivered` follow from what the device's TCP has acknowledged.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.sample",
        code="self.link.acknowledged(in_flight.offset)",
        mutant="True",
        without="what was written was delivered",
        tests=("transport/test_timeouts.py::test_without_an_answer_wanted_the_devices_tcp_decides",),
    ),
    Mechanism(
        promise="P3",
        name="all bytes of the command",
        what="Acknowledged is a command when its last byte is.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.acknowledged",
        code="self._sent - queued >= offset",
        mutant="self._sent - queued > 0",
        without="an earlier byte is enough",
        tests=("transport/test_protocol.py::test_tcp_acknowledged_bytes_are_counted_exactly",),
    ),
    Mechanism(
        promise="P3",
        name="TLS does not show what is acknowledged",
        what="Over TLS the kernel counts other bytes than were written: nothing follows from them.",
        file="transport/connection/tcp.py",
        where="unacknowledged",
        code='sys.platform != "linux" or transport.get_extra_info("sslcontext") is not None',
        mutant='sys.platform != "linux"',
        without="a command is `delivered` on the word of another layer",
        tests=("transport/test_tls.py::test_tcp_acknowledgement_is_unknown_over_tls",),
    ),
    Mechanism(
        promise="P1",
        name="written once",
        what="What has been written is not waiting to be written.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue._write",
        code="self.unwritten = False",
        mutant="",
        without="the next quiet moment writes it again",
        tests=("transport/test_device_queue_writes.py::test_a_written_command_is_not_written_again",),
    ),
    Mechanism(
        promise="P2",
        name="a withdrawn command is not written",
        what="A command that leaves the slot unwritten takes its write along.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.leave",
        code="self.unwritten = False",
        mutant="",
        without="the queue waits for ever to write what is gone",
        tests=(
            "transport/test_device_queue_writes.py::test_after_a_command_that_was_withdrawn_the_next_is_written",
        ),
    ),
    Mechanism(
        promise="P3",
        name="written before it is handed over",
        what="A command counts as written before the socket is given its bytes, not afterwards.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue._write",
        code="in_flight.written, in_flight.written_at = True, self._clock.monotonic()",
        mutant="in_flight.written_at = self._clock.monotonic()",
        without="a connection that breaks within the write leaves it without an outcome",
        tests=("transport/test_connections.py::test_a_connection_closed_by_the_write_fails_the_command",),
    ),
    Mechanism(
        promise="P3",
        name="delivered only where no answer is wanted",
        what="The acknowledgement of the device's TCP is success only for a command that expects no answer.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.sample",
        code="not in_flight.request.expect_response",
        mutant="True",
        without="a command ends before its answer",
        tests=("transport/test_timeouts.py::test_a_timeout_says_that_the_devices_tcp_had_the_command",),
    ),
)
