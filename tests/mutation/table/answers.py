"""Mechanisms of answers: which command they belong to, and what is owed."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P4",
        name="an answer has the codec of its command",
        what="A frame of another codec than the command's is no answer to it.",
        file="transport/commands/device_queue.py",
        where="answers",
        code="CODEC_NAMES.get(message.codec) != codec or message.quantity != 1",
        mutant="message.quantity != 1",
        without="a codec 12 frame answers a codec 14 command",
        tests=("transport/test_device_queue_answers.py::test_an_answer_in_another_codec_is_unsolicited",),
    ),
    Mechanism(
        promise="P4",
        name="an answer has the IMEI of its device",
        what="In codec 14 an answer carries the IMEI of the device.",
        file="transport/commands/device_queue.py",
        where="answers",
        code="message.type == TYPE_ANSWER and message.imei == imei",
        mutant="message.type == TYPE_ANSWER",
        without="the answer of another device behind the same modem is taken",
        tests=(
            "transport/test_device_queue_answers.py::test_a_codec_14_answer_with_another_imei_is_unsolicited",
        ),
    ),
    Mechanism(
        promise="P4",
        name="an answer has the type of an answer",
        what="Only type 06 answers, with a text, and type 11 refuses.",
        file="transport/commands/device_queue.py",
        where="answers",
        code="message.type == TYPE_ANSWER and len(message.payload) > 0",
        mutant="True",
        without="a command that the device echoes is its answer",
        tests=("transport/test_device_queue_answers.py::test_a_message_of_another_type_is_unsolicited",),
    ),
    Mechanism(
        promise="P4",
        name="no answer unless owed",
        what="An answer that is not owed is unsolicited, and frees nothing.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.expects",
        code="""
            if owed is None or not answers(message, owed.command.codec, self.link.imei):
                return False
        """,
        mutant="""
            owed = owed or self.writes.slot
            if owed is None or not answers(message, owed.command.codec or "12", self.link.imei):
                return False
        """,
        without="an answer to nothing breaks the queue",
        tests=(
            "transport/test_device_queue_answers.py::test_an_answer_while_sent_is_committed_is_unsolicited",
        ),
    ),
    Mechanism(
        promise="P4",
        name="a ping is no answer",
        what="An empty codec 12 answer is a network ping: counted, and nothing else.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher.answer",
        code="""
            self._metrics.pings.inc()
            return True
        """,
        mutant="",
        without="every ping is published as an unsolicited answer",
        tests=(
            "transport/test_device_queue_answers.py::test_an_empty_codec_12_frame_is_a_ping_and_only_counted",
        ),
    ),
    Mechanism(
        promise="P4",
        name="the late answer ends the taint",
        what="The late answer is told for the command it belongs to, and the connection is clean again.",
        file="transport/commands/dispatcher.py",
        where="Dispatcher._device_answered",
        code="self._effects.add(Clear(queue.link))",
        mutant="pass",
        without="the connection is never written to again",
        tests=("transport/test_device_queue.py::test_a_late_answer_is_never_given_to_the_next_command",),
    ),
    Mechanism(
        promise="P4",
        name="a verdict without an answer taints",
        what="The connection of a command that got its verdict before its answer is tainted.",
        file="transport/commands/in_flight.py",
        where="InFlightCommands._leave",
        code="self._effects.add(Taint(queue.link))",
        mutant="",
        without="the session goes on as if nothing were owed",
        tests=("transport/test_sessions_deadlines.py::test_a_taint_and_its_end_are_events_of_the_session",),
    ),
    Mechanism(
        promise="P4",
        name="a taint is not waited for without end",
        what="A tainted connection that a command waits for is closed after `--drain-timeout`.",
        file="transport/commands/endings.py",
        where="Endings.sweep",
        code="self._effects.add(Close(queue.link, TAINTED))",
        mutant="",
        without="the next command waits until it expires",
        tests=("transport/test_device_queue.py::test_a_tainted_connection_is_closed_when_a_command_waits",),
    ),
    Mechanism(
        promise="bounds",
        name="answers are cut",
        what="Of an answer 8 KiB are published.",
        file="transport/commands/device_queue.py",
        where="published",
        code="payload[:ANSWER_LIMIT]",
        mutant="payload",
        without="a device writes 64 KiB into every event",
        tests=("transport/test_device_queue_answers.py::test_an_answer_is_published_as_text_or_hex_and_cut",),
    ),
    Mechanism(
        promise="security",
        name="answers are printable or hex",
        what="An answer that is not printable ASCII is published in hex.",
        file="transport/teltonika/message_json.py",
        where="as_text",
        code="all(32 <= byte < 127 or byte in (9, 10, 13) for byte in data)",
        mutant="data.isascii()",
        without="control characters of a device reach consumers as text",
        tests=("transport/test_device_queue_answers.py::test_an_answer_is_published_as_text_or_hex_and_cut",),
    ),
    Mechanism(
        promise="P4",
        name="a taint that harms nobody stays",
        what="A tainted connection is closed only if a command waits for it.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.overdue",
        code="self.writes.tainted and self.writes.waiting and now - self.tainted_at >= drain_timeout",
        mutant="self.writes.tainted and now - self.tainted_at >= drain_timeout",
        without="every command without an answer costs the device its connection",
        tests=("transport/test_device_queue.py::test_a_tainted_connection_stays_open_while_nothing_waits",),
    ),
    Mechanism(
        promise="P4",
        name="a device that speaks gets codec 14",
        what="A device that is known to speak by itself gets its commands as codec 14.",
        file="fsm/serial.py",
        where="codec_for",
        code="CODEC_14 if speaks else CODEC_12",
        mutant="CODEC_12",
        without="what its serial port says is taken for the answer",
        tests=(
            "transport/test_device_queue_serial.py::test_a_device_that_has_spoken_gets_commands_as_codec_14",
        ),
    ),
    Mechanism(
        promise="P4",
        name="redis has the last word on the codec",
        what="No command goes out as codec 12 by default to a device of `devices:serial`.",
        file="store/scripts/moves.lua",
        code="if known and move.by_default then return report('SERIAL', seen, known) end",
        mutant="",
        without="a device that has spoken at another gateway is taken for one that does not speak",
        tests=(
            "contract/test_moves.py::"
            "test_no_command_goes_out_as_codec_12_by_default_to_a_device_that_speaks[fake]",
        ),
    ),
    Mechanism(
        promise="P4",
        name="serial data clear no taint",
        what="Of a device that speaks no codec 12 message is taken for the late answer.",
        file="transport/commands/device_queue.py",
        where="DeviceQueue.expects",
        code="not (self.writes.tainted and self._attribution(owed) == UNCERTAIN)",
        mutant="True",
        without="serial data clear the taint, and the late answer is given to the next command",
        tests=("transport/test_device_queue_serial.py::test_serial_data_clear_no_taint",),
    ),
    Mechanism(
        promise="P6",
        name="messages travel alone when they are refused",
        what="After a call with messages was refused as a whole, records go out without them.",
        file="store/streams/device_ring.py",
        where="DeviceRing.take",
        code="self.messages_apart",
        mutant="False",
        without="a missing right to the stream of messages stops every acknowledgement",
        tests=("store/test_telemetry_messages.py::test_a_call_refused_for_its_messages_costs_no_record",),
    ),
)
