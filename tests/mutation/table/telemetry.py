"""Mechanisms of what lies between a device's frame and its acknowledgement."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P7",
        name="ack after store",
        what="A frame is acknowledged when the store has confirmed it.",
        file="transport/connection.py",
        text="        hub.telemetry.store(batch)\n",
        mutant="        self._write(encode_ack(count))\n        hub.telemetry.store(batch)\n",
        without="it is acknowledged when it is read",
        tests=(
            "transport/test_connection_guards.py::"
            "test_a_frame_is_acknowledged_with_its_number_of_records_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="confirmed after the call",
        what="A batch is confirmed when the script has stored all of it.",
        file="store/telemetry.py",
        text="        self._settle(stored)\n        if error:\n",
        mutant="        self._settle(len(self._queue))\n        if error:\n",
        without="it is confirmed whatever became of the call",
        tests=(
            "store/test_telemetry_outages.py::"
            "test_while_redis_is_away_only_frames_of_those_who_left_are_forgotten",
        ),
    ),
    Mechanism(
        promise="P7",
        name="a frame is whole or not stored",
        what="A batch of which a part is stored is not confirmed, and is stored again.",
        file="store/telemetry.py",
        text="            if entries < 0:\n                return whole\n",
        mutant="            if entries < 0:\n                return whole + 1\n",
        without="the rest of its records is lost",
        tests=(
            "store/test_telemetry_outages.py::test_behind_a_refused_entry_nothing_is_stored_or_confirmed",
        ),
    ),
    Mechanism(
        promise="P7",
        name="the script stops at an error",
        what="The script stores nothing behind an entry that was refused.",
        file="store/scripts/telemetry.lua",
        text="    if type(reply) == 'table' then return {stored, reply.err} end\n",
        mutant="",
        without="a refused entry counts as stored",
        tests=(
            "store/test_telemetry_outages.py::test_behind_a_refused_entry_nothing_is_stored_or_confirmed",
        ),
    ),
    Mechanism(
        promise="P7",
        name="frames wait for Redis",
        what="A batch whose outcome is unknown stays at the head of the queue.",
        file="store/telemetry.py",
        text="        self._forget_cancelled()\n        await",
        mutant="        self._queue.clear()\n        await",
        without="an outage loses what was on its way, and no device is told",
        tests=(
            "store/test_telemetry_outages.py::"
            "test_while_redis_is_away_only_frames_of_those_who_left_are_forgotten",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="frames of those who left are dropped",
        what="While the store cannot be reached, frames of closed connections are forgotten.",
        file="store/telemetry.py",
        text="        self._queue = deque(batch for batch in self._queue if not batch.cancelled)\n",
        mutant="        self._queue = deque(self._queue)\n",
        without="a long outage fills the memory with frames that their devices have kept",
        tests=(
            "store/test_telemetry_outages.py::"
            "test_while_redis_is_away_only_frames_of_those_who_left_are_forgotten",
        ),
    ),
    Mechanism(
        promise="P7",
        name="only frames of those who left",
        what="While the store cannot be reached, no frame of an open connection is dropped.",
        file="store/telemetry.py",
        text="        self._queue = deque(batch for batch in self._queue if not batch.cancelled)\n",
        mutant="        self._queue = deque()\n",
        without="everything is forgotten",
        tests=(
            "store/test_telemetry_outages.py::"
            "test_while_redis_is_away_only_frames_of_those_who_left_are_forgotten",
        ),
    ),
    Mechanism(
        promise="P6",
        name="a refused frame does not hold up the fleet",
        what="An undecodable frame that Redis refuses for good is dropped and its connection closed.",
        file="store/telemetry.py",
        text="        if self._on_refused and head.kind in _DROPPABLE and _is_refusal(error):\n",
        mutant="        if False:\n",
        without="every device waits behind it",
        tests=(
            "store/test_telemetry_outages.py::test_an_undecodable_frame_that_is_refused_for_good_is_let_go",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="a call of telemetry is bounded",
        what="One call carries 1000 entries or 1 MiB.",
        file="store/telemetry.py",
        text=(
            "            if sent and (entries > self._call_entries or size > self._call_bytes):\n"
            "                break\n"
        ),
        mutant="",
        without="a backlog goes out in one call, which never ends in time",
        tests=("store/test_telemetry_outages.py::test_a_backlog_goes_out_in_calls_of_a_bounded_size",),
    ),
    Mechanism(
        promise="bounds",
        name="a waiting frame has its weight",
        what="What waits for the store is counted in bytes, small frames with what they really cost.",
        file="store/telemetry.py",
        text="    return OVERHEAD + sum(map(len, batch.bodies))\n",
        mutant="    return sum(map(len, batch.bodies))\n",
        without="a flood of tiny frames passes below the bound",
        tests=("store/test_telemetry.py::test_a_small_batch_weighs_more_than_its_bytes",),
    ),
    Mechanism(
        promise="bounds",
        name="undecodable frames are capped",
        what="The stream of undecodable frames keeps so many entries and no more.",
        file="store/scripts/telemetry.lua",
        text="undecodable, 'MAXLEN', '~', cap, '*',",
        mutant="undecodable, '*',",
        without="it grows for ever",
        tests=("store/test_telemetry_outages.py::test_the_stream_of_undecodable_frames_is_capped",),
    ),
    Mechanism(
        promise="P7",
        name="an ack says how many",
        what="The acknowledgement is the number of records of its frame.",
        file="transport/connection.py",
        text="        self._write(encode_ack(count))\n        if self.half_closed",
        mutant="        self._write(encode_ack(1))\n        if self.half_closed",
        without="the device sends the frame again for ever",
        tests=(
            "transport/test_connection_guards.py::"
            "test_a_frame_is_acknowledged_with_its_number_of_records_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="undecodable frames are kept",
        what="A frame with a good checksum that cannot be decoded is stored as it came, then acknowledged.",
        file="transport/connection.py",
        text="            self._keep_raw(body, error.reason.encode())\n            return\n",
        mutant="            self._write(encode_ack(body[1]))\n            return\n",
        without="it is acknowledged and lost",
        tests=(
            "transport/test_connection_guards.py::"
            "test_a_frame_that_cannot_be_decoded_is_acknowledged_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="checksum",
        what="A frame whose checksum is wrong is neither stored nor acknowledged.",
        file="transport/teltonika/frame.py",
        text="    if declared == computed:\n",
        mutant="    if True:\n",
        without="noise is stored as telemetry",
        tests=(
            "transport/test_frame.py::test_a_flipped_byte_of_the_body_makes_a_bad_frame_and_keeps_the_step",
            "transport/test_connection_guards.py::"
            "test_a_frame_with_a_bad_checksum_is_neither_stored_nor_acknowledged",
        ),
    ),
    Mechanism(
        promise="P7",
        name="counts agree",
        what="A frame whose two record counts differ is undecodable.",
        file="transport/teltonika/avl.py",
        text="    if count != body[end] or not count:\n",
        mutant="    if not count:\n",
        without="the first count is believed",
        tests=("transport/test_avl.py::test_record_counts_that_disagree_are_refused",),
    ),
    Mechanism(
        promise="P7",
        name="records fill their frame",
        what="A frame whose records do not fill it exactly is undecodable.",
        file="transport/teltonika/avl.py",
        text="    if at != end:\n",
        mutant="    if False:\n",
        without="what is left over is dropped and acknowledged",
        tests=("transport/test_avl.py::test_counts_that_agree_on_another_number_are_refused",),
    ),
    Mechanism(
        promise="P7",
        name="a guessed layout is compared",
        what="A record is read by a remembered layout only if its counts and ids are those of the layout.",
        file="transport/teltonika/layout.py",
        text="                if record & plain.mask == plain.skeleton:\n",
        mutant="                if True:\n",
        without="values are stored under the ids of another record",
        tests=(
            "transport/test_layout.py::test_shapes_that_begin_alike_are_told_apart_however_many_there_are",
        ),
    ),
    Mechanism(
        promise="P7",
        name="a store that fails is not healthy",
        what="While frames are not stored, devices are looked at that wait for theirs.",
        file="store/telemetry.py",
        text="        self.healthy = False\n        self._forget",
        mutant="        self._forget",
        without="a device waits for its acknowledgement for ever",
        tests=(
            "store/test_telemetry_outages.py::"
            "test_while_redis_is_away_only_frames_of_those_who_left_are_forgotten",
        ),
    ),
    Mechanism(
        promise="P7",
        name="room is checked",
        what="A record that reaches beyond its frame is undecodable.",
        file="transport/teltonika/layout.py",
        text="    if stop > end:\n",
        mutant="    if False:\n",
        without="half a record is stored and acknowledged",
        tests=("transport/test_avl.py::test_a_body_cut_short_anywhere_is_refused",),
    ),
    Mechanism(
        promise="P7",
        name="01 before anything else",
        what="A device reads that it is let in before it reads an acknowledgement.",
        file="transport/connection.py",
        text="        self._greet()\n        self._write(encode_ack(count))\n",
        mutant="        self._write(encode_ack(count))\n",
        without="while Redis is slow the first acknowledgement is read as a refusal",
        tests=(
            "transport/test_connection_guards.py::test_a_device_reads_01_before_its_first_acknowledgement",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="the frames of a connection that ends",
        what="What the store has not confirmed when a connection ends may be forgotten.",
        file="transport/connection.py",
        text="            batch.cancelled = True\n",
        mutant="            pass\n",
        without="an outage keeps the frames of devices that come and go",
        tests=(
            "transport/test_connection_guards.py::"
            "test_what_is_not_stored_when_a_connection_ends_may_be_forgotten",
        ),
    ),
    Mechanism(
        promise="faults",
        name="a half-closed connection is acknowledged",
        what="A device that has closed its side is kept until what it has sent is stored and acknowledged.",
        file="transport/connection.py",
        text="        self.half_closed = True\n",
        mutant="        return False\n",
        without="its records are stored, or not, and it does not learn which",
        tests=(
            "transport/test_closes.py::"
            "test_who_has_closed_its_side_is_not_waited_for_longer_than_half_a_minute",
        ),
    ),
    Mechanism(
        promise="P7",
        name="acks in the order of the frames",
        what="Each confirmation acknowledges the oldest frame that waits.",
        file="transport/connection.py",
        text="        count, _ = self._unacked.pop(0)\n",
        mutant="        count, _ = self._unacked.pop()\n",
        without="a device reads another frame's count and sends again, or worse, does not",
        tests=("transport/test_connection_guards.py::test_frames_are_acknowledged_in_their_order",),
    ),
    Mechanism(
        promise="bounds",
        name="a flush of records has a bound",
        what="The last records are waited for only so long.",
        file="store/telemetry.py",
        text="            async with asyncio.timeout(within):\n                await self._idle.wait()",
        mutant="            if True:\n                await self._idle.wait()",
        without="a gateway never ends while Redis is away",
        tests=("store/test_queues.py::test_what_cannot_be_saved_is_waited_for_only_so_long[telemetry]",),
    ),
    Mechanism(
        promise="bounds",
        name="stores that fail are followed by a wait",
        what="Between two calls that fail there is a wait.",
        file="store/telemetry.py",
        text="        await self._backoff.wait(self._stop)",
        mutant="        await asyncio.sleep(0)",
        without="Redis is called without end while it is away",
        tests=(
            (
                "store/test_queues.py::test_between_calls_that_fail_there_is_a_wait_and_the_first_that_do"
                "es_not_ends_them[telemetry]"
            ),
        ),
    ),
)
