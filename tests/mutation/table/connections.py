"""Mechanisms of a device's connection: which one is the device's, and when it is written to."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="registry",
        name="the newest connection wins",
        what="A device that connects again takes the place of its older connection, which is closed.",
        file="transport/connection/takeovers.py",
        where="Takeovers.superseded",
        code="older.close(SUPERSEDED, linger=takeover.asked)",
        mutant="",
        without="both stay open, and commands go to one of them",
        tests=("transport/test_sessions_deadlines.py::test_the_line_moves_to_a_newer_connection_in_order",),
    ),
    Mechanism(
        promise="registry",
        name="only the newest unregisters",
        what="The end of a superseded connection takes nothing from the registry.",
        file="transport/connection/sessions.py",
        where="Sessions.ended",
        code="self.by_imei.get(connection.imei) is connection",
        mutant="True",
        without="the entry of the live connection goes with it",
        tests=("transport/test_protocol.py::test_the_end_of_an_older_session_leaves_the_newer_registered",),
    ),
    Mechanism(
        promise="registry",
        name="reconciled away",
        what="A session that the registry gives to another living instance is closed `superseded`.",
        file="transport/connection/sessions.py",
        where="Sessions.reconciled",
        code="result.status is Registered.SUPERSEDED",
        mutant="False",
        without="two instances keep the device",
        tests=("transport/test_protocol.py::test_a_registry_reply_closes_only_the_session_that_asked",),
    ),
    Mechanism(
        promise="registry",
        name="only the session that asked",
        what="The registry's late word on a session does not close the newer one.",
        file="transport/connection/sessions.py",
        where="Sessions.reconciled",
        code="connection is None or connection.session_id != session_id",
        mutant="connection is None",
        without="a device that has just come back is sent away",
        tests=("transport/test_protocol.py::test_a_registry_reply_closes_only_the_session_that_asked",),
    ),
    Mechanism(
        promise="P7",
        name="a device whose frame is not stored is closed",
        what="After 60 s without an acknowledgement the connection is closed `store_unavailable`.",
        file="transport/connection/timeouts.py",
        where="Timeouts._check_sessions",
        code="now - connection.unacked_since >= STORE_TIMEOUT",
        mutant="False",
        without="a device waits for an acknowledgement that does not come",
        tests=("transport/test_sessions_deadlines.py::test_a_device_whose_frame_is_not_stored_is_closed",),
    ),
    Mechanism(
        promise="P7",
        name="a refused frame closes its connection",
        what="The device of a frame that the store will never take is sent away.",
        file="transport/connection/pending.py",
        where="refuse",
        code="connection is not None",
        mutant="False",
        without="its later frames are acknowledged in the place of that one",
        tests=(
            "transport/test_sessions_floods.py::test_a_refused_frame_closes_the_session_that_waits_for_it",
        ),
    ),
    Mechanism(
        promise="P7",
        name="commands come after the records",
        what="A connection is ready after its first acknowledged frame.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.writable",
        code="self.session.state == READY and not self.held and not self.closed",
        mutant="not self.held and not self.closed",
        without="a command stands before the first acknowledgement",
        tests=("transport/test_protocol.py::test_no_command_comes_before_the_first_acknowledgement",),
    ),
    Mechanism(
        promise="P7",
        name="not before an acknowledgement",
        what="No command is written while a frame waits for its acknowledgement.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.writable",
        code="ready and not self._unacked and not self._stream.partial",
        mutant="ready and not self._stream.partial",
        without="the device reads it as the acknowledgement",
        tests=(
            "transport/test_sessions_deadlines.py::test_no_command_between_a_frame_and_its_acknowledgement",
        ),
    ),
    Mechanism(
        promise="P7",
        name="not into a frame",
        what="No command is written while a frame is arriving.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.writable",
        code="ready and not self._unacked and not self._stream.partial",
        mutant="ready and not self._unacked",
        without="the device reads it as the acknowledgement of the frame it is sending",
        tests=("transport/test_protocol.py::test_a_command_is_not_written_into_a_frame_that_has_begun",),
    ),
    Mechanism(
        promise="P7",
        name="messages are not acknowledged",
        what="A codec 12 to 15 frame gets no acknowledgement.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._kept",
        code="self._unstored = self._unstored or None",
        mutant="""
            self._write(encode_ack(1))
            self._unstored = self._unstored or None
        """,
        without="the device reads four bytes that it did not ask for",
        tests=("transport/test_protocol_messages.py::test_a_device_message_is_stored_and_not_acknowledged",),
    ),
    Mechanism(
        promise="faults",
        name="commands to devices without records",
        what="A device that has nothing to report gets commands after `--ready-grace`.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.overdue",
        code="self.session.state == IDENTIFIED and not self._unacked",
        mutant="False",
        without="it never gets one",
        tests=(
            "transport/test_sessions_deadlines.py::"
            "test_a_device_without_records_gets_commands_after_the_grace",
        ),
    ),
    Mechanism(
        promise="P4",
        name="taint is a state",
        what="A session becomes tainted, and ready again, by edges of its table.",
        file="fsm/session.py",
        code='Edge(trigger="taint", source=READY, dest=TAINTED)',
        mutant="",
        without="a session cannot be tainted",
        tests=(
            "fsm/test_session.py::test_the_machine_has_the_specified_states_and_triggers",
            "transport/test_sessions_deadlines.py::test_a_taint_and_its_end_are_events_of_the_session",
        ),
    ),
    Mechanism(
        promise="registry",
        name="no connection is accepted during a shutdown",
        what="A gateway that stops takes no new connection.",
        file="transport/connection/admission.py",
        where="Admission.enter",
        code="""
            if self.refusing:
                ...
        """,
        mutant="""
            if False:
                ...
        """,
        without="a device that names itself stays in the registry",
        tests=(
            "transport/test_sessions_deadlines.py::test_no_device_can_name_itself_to_a_gateway_that_stops",
        ),
    ),
    Mechanism(
        promise="P7",
        name="a shutdown does not resume reading",
        what="Nothing that resumes reading makes a gateway read that stops.",
        file="transport/connection/backpressure.py",
        where="Backpressure.holds",
        code="self._stopped or connection.over_share or waits or no_room",
        mutant="connection.over_share or waits or no_room",
        without="a frame is read that will not be acknowledged",
        tests=("transport/test_shutdown.py::test_devices_are_not_read_after_the_last_telemetry",),
    ),
    Mechanism(
        promise="security",
        name="a late answer of the allow-list accepts no device",
        what="The list's answer for a connection that is gone changes nothing.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._allow_list_answered",
        code="""
            if not self.closed:
                ...
        """,
        mutant="...",
        without="a session is registered that has no connection",
        tests=("transport/test_access.py::test_an_answer_for_a_closed_connection_changes_nothing",),
    ),
)
