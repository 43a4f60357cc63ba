"""Mechanisms of answers: which command they belong to, and what is owed."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P4",
        name="an answer has the codec of its command",
        what="A frame of another codec than the command's is no answer to it.",
        file="transport/lane.py",
        text="    if CODEC_NAMES.get(message.codec) != codec:\n        return False\n",
        mutant="",
        without="a codec 12 frame answers a codec 14 command",
        tests=("transport/test_answers.py::test_an_answer_in_another_codec_is_unsolicited",),
    ),
    Mechanism(
        promise="P4",
        name="an answer has the IMEI of its device",
        what="In codec 14 an answer carries the IMEI of the device.",
        file="transport/lane.py",
        text="(message.type == TYPE_ANSWER and message.imei == imei)\n",
        mutant="message.type == TYPE_ANSWER\n",
        without="the answer of another device behind the same modem is taken",
        tests=("transport/test_answers.py::test_a_codec_14_answer_with_another_imei_is_unsolicited",),
    ),
    Mechanism(
        promise="P4",
        name="an answer has the type of an answer",
        what="Only type 06 answers, with a text, and type 11 refuses.",
        file="transport/lane.py",
        text="        return message.type == TYPE_ANSWER and len(message.payload) > 0\n",
        mutant="        return True\n",
        without="a command that the device echoes is its answer",
        tests=("transport/test_answers.py::test_a_message_of_another_type_is_unsolicited",),
    ),
    Mechanism(
        promise="P4",
        name="no answer unless owed",
        what="An answer that is not owed is unsolicited, and frees nothing.",
        file="transport/lane.py",
        text="        if owed is None or not answers(",
        mutant=(
            "        owed = owed or self.queue.slot or (self.queue.waiting or [None])[0]\n"
            "        if owed is None or not answers("
        ),
        without="an answer to nothing breaks the lane",
        tests=(
            "transport/test_answers.py::test_an_answer_while_sent_is_only_being_committed_is_unsolicited",
        ),
    ),
    Mechanism(
        promise="P4",
        name="a ping is no answer",
        what="An empty codec 12 answer is a network ping: counted, and nothing else.",
        file="transport/dispatcher.py",
        text=(
            '            self.metrics.pings.inc()  # the "empty codec 12" network ping of the FM63 family\n'
            "            return\n"
        ),
        mutant="            pass\n",
        without="every ping is published as an unsolicited answer",
        tests=("transport/test_answers.py::test_an_empty_codec_12_frame_is_a_ping_and_only_counted",),
    ),
    Mechanism(
        promise="P4",
        name="the late answer ends the taint",
        what="The late answer is told for the command it belongs to, and the connection is clean again.",
        file="transport/lane.py",
        text="            self.link.clear()\n",
        mutant="            pass\n",
        without="the connection is never written to again",
        tests=("transport/test_lane.py::test_a_late_answer_is_never_given_to_the_next_command",),
    ),
    Mechanism(
        promise="P4",
        name="a verdict without an answer taints",
        what="The connection of a command that got its verdict before its answer is tainted.",
        file="transport/lane.py",
        text="            self.tainted_at = self._desk.clock.monotonic()\n            self.link.taint()\n",
        mutant="            pass\n",
        without="the session goes on as if nothing were owed",
        tests=("transport/test_session_deadlines.py::test_a_taint_and_its_end_are_events_of_the_session",),
    ),
    Mechanism(
        promise="P4",
        name="a taint is not waited for without end",
        what="A tainted connection that a command waits for is closed after `--drain-timeout`.",
        file="transport/lane.py",
        text="            self.link.shut(TAINTED)\n",
        mutant="            pass\n",
        without="the next command waits until it expires",
        tests=("transport/test_lane.py::test_a_tainted_connection_is_closed_when_a_command_waits",),
    ),
    Mechanism(
        promise="bounds",
        name="answers are cut",
        what="Of an answer 8 KiB are published.",
        file="transport/lane.py",
        text="    kept = payload[:ANSWER_LIMIT]\n",
        mutant="    kept = payload\n",
        without="a device writes 64 KiB into every event",
        tests=("transport/test_answers.py::test_an_answer_is_published_as_text_or_hex_and_cut",),
    ),
    Mechanism(
        promise="security",
        name="answers are printable or hex",
        what="An answer that is not printable ASCII is published in hex.",
        file="transport/lane.py",
        text="    if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in kept):\n",
        mutant="    if kept.isascii():\n",
        without="control characters of a device reach consumers as text",
        tests=("transport/test_answers.py::test_an_answer_is_published_as_text_or_hex_and_cut",),
    ),
    Mechanism(
        promise="P4",
        name="a taint that harms nobody stays",
        what="A tainted connection is closed only if a command waits for it.",
        file="transport/lane.py",
        text="        if self.queue.tainted and self.queue.waiting and now",
        mutant="        if self.queue.tainted and now",
        without="every command without an answer costs the device its connection",
        tests=("transport/test_lane.py::test_a_tainted_connection_stays_open_while_nothing_waits",),
    ),
)
