"""Mechanisms of what lies between a device's frame and its acknowledgement."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P7",
        name="ack after store",
        what="A frame is acknowledged when the store has confirmed it.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._store",
        code="context.telemetry.store(frame)",
        mutant="""
            self._write(encode_ack(count))
            context.telemetry.store(frame)
        """,
        without="it is acknowledged when it is read",
        tests=(
            "transport/test_protocol.py::"
            "test_a_frame_is_acknowledged_with_its_number_of_records_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="confirmed after the call",
        what="A batch is confirmed when the script has stored all of it.",
        file="store/streams/telemetry.py",
        where="Telemetry._attempt",
        code="return failure",
        mutant="""
            self._confirm(len(frames))
            return failure
        """,
        without="it is confirmed whatever became of the call",
        tests=("store/test_telemetry_outages.py::test_an_outage_drops_only_frames_of_closed_connections",),
    ),
    Mechanism(
        promise="P7",
        name="a reply says how many are stored",
        what="Records are confirmed when the reply is the number of those that were sent.",
        file="store/streams/telemetry.py",
        where="_read",
        code="reply == sum(len(frame.bodies) for frame in frames)",
        mutant="isinstance(reply, int)",
        without="a reply of another call, or of another server, confirms them",
        tests=("store/test_replies.py::test_records_are_stored_only_when_the_reply_says_how_many",),
    ),
    Mechanism(
        promise="P7",
        name="a frame is whole or not stored",
        what="A batch of which a part is stored is not confirmed, and is stored again.",
        file="store/streams/telemetry.py",
        where="_whole",
        code="return whole",
        mutant="return whole + 1",
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
        code="if type(reply) == 'table' then return {stored, reply.err} end",
        mutant="",
        without="a refused entry counts as stored",
        tests=(
            "store/test_telemetry_outages.py::test_behind_a_refused_entry_nothing_is_stored_or_confirmed",
        ),
    ),
    Mechanism(
        promise="P7",
        name="frames wait for Redis",
        what="A batch whose outcome is unknown waits again.",
        file="store/streams/telemetry.py",
        where="Telemetry._give_back",
        code="(frame for frame in frames if not frame.cancelled)",
        mutant="()",
        without="an outage loses what was on its way, and no device is told",
        tests=("store/test_telemetry_outages.py::test_an_outage_drops_only_frames_of_closed_connections",),
    ),
    Mechanism(
        promise="bounds",
        name="frames of those who left are dropped",
        what="A frame that waits when its connection closes is dropped at once.",
        file="store/streams/telemetry.py",
        where="Telemetry.drop",
        code="if self._ring.remove(frame): ...",
        mutant="pass",
        without="whoever connects, sends and closes again and again fills the memory",
        tests=("store/test_telemetry.py::test_a_frame_of_a_connection_that_closed_is_dropped_at_once",),
    ),
    Mechanism(
        promise="P6",
        name="one frame of each device in turn",
        what="A device that had its turn waits behind the others.",
        file="store/streams/device_ring.py",
        where="DeviceRing._shift",
        code="self._lines[imei] = line",
        mutant="self._lines = {imei: line} | self._lines",
        without="the backlog of one device holds up all others",
        tests=("store/test_device_ring.py::test_each_waiting_device_is_served_in_turn",),
    ),
    Mechanism(
        promise="bounds",
        name="the store is shared by weight",
        what="When more waits than a call carries, the frame that would finish first in fair shares is next.",
        file="store/streams/device_ring.py",
        where="_FairOrder._push",
        code="(finish, self._count, imei)",
        mutant="(0.0, self._count, imei)",
        without="a record waits behind a backlog of megabytes of other devices",
        tests=("store/test_device_ring.py::test_a_small_frame_does_not_wait_behind_many_large_ones",),
    ),
    Mechanism(
        promise="P7",
        name="what was in flight comes first again",
        what="The frames of a device that were sent in vain are stored before its later ones.",
        file="store/streams/device_ring.py",
        where="DeviceRing.put_back",
        code="line += self._lines.pop(imei, ())",
        mutant="line[:0] = self._lines.pop(imei, ())",
        without="a later frame is stored first, and the acknowledgement is taken for the earlier one",
        tests=("store/test_device_ring.py::test_what_is_put_back_comes_before_what_came_after_it",),
    ),
    Mechanism(
        promise="P6",
        name="a refused frame does not hold up the fleet",
        what="An undecodable frame that Redis refuses for good is dropped and its connection closed.",
        file="store/streams/telemetry.py",
        where="Telemetry._recover",
        code="self._on_refused and failed.kind in _DROPPABLE and _is_refusal(error)",
        mutant="False",
        without="every device waits behind it",
        tests=("store/test_telemetry_outages.py::test_a_refused_undecodable_frame_is_dropped",),
    ),
    Mechanism(
        promise="bounds",
        name="a call of telemetry is bounded",
        what="One call carries 1000 entries or 1 MiB.",
        file="store/streams/device_ring.py",
        where="DeviceRing.take",
        code="taken and (entries < 0 or size < 0)",
        mutant="False",
        without="a backlog goes out in one call, which never ends in time",
        tests=("store/test_telemetry_outages.py::test_a_backlog_goes_out_in_calls_of_a_bounded_size",),
    ),
    Mechanism(
        promise="bounds",
        name="a waiting frame has its weight",
        what="What waits for the store is counted in bytes, small frames with what they really cost.",
        file="store/streams/telemetry.py",
        where="Telemetry.store",
        code="self.backlog.bytes += frame.weight",
        mutant="self.backlog.bytes += frame.size",
        without="a flood of tiny frames passes below the bound",
        tests=("store/test_telemetry.py::test_a_small_batch_weighs_more_than_its_bytes",),
    ),
    Mechanism(
        promise="bounds",
        name="undecodable frames are capped",
        what="The stream of undecodable frames keeps so many entries and no more.",
        file="store/scripts/telemetry.lua",
        code="undecodable, 'MAXLEN', '~', cap, '*',",
        mutant="undecodable, '*',",
        without="it grows for ever",
        tests=("store/test_telemetry_outages.py::test_the_stream_of_undecodable_frames_is_capped",),
    ),
    Mechanism(
        promise="P7",
        name="an ack says how many",
        what="The acknowledgement is the number of records of its frame.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._stored",
        code="encode_ack(count)",
        mutant="encode_ack(1)",
        without="the device sends the frame again for ever",
        tests=(
            "transport/test_protocol.py::"
            "test_a_frame_is_acknowledged_with_its_number_of_records_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="undecodable frames are kept",
        what="A frame with a good checksum that cannot be decoded is stored as it came, then acknowledged.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._handle_raw",
        code="self._store(frame.count, pending_raw(frame, self.imei, now_ms, self._stored))",
        mutant="self._write(encode_ack(frame.count))",
        without="it is acknowledged and lost",
        tests=(
            "transport/test_protocol.py::"
            "test_a_frame_that_cannot_be_decoded_is_acknowledged_when_it_is_stored",
        ),
    ),
    Mechanism(
        promise="P7",
        name="checksum",
        what="A frame whose checksum is wrong is neither stored nor acknowledged.",
        file="transport/teltonika/frame.py",
        where="_body",
        code="declared == computed",
        mutant="True",
        without="noise is stored as telemetry",
        tests=(
            "transport/test_frame.py::test_a_flipped_byte_of_the_body_makes_a_bad_frame_and_keeps_the_step",
            "transport/test_protocol.py::test_a_frame_with_a_bad_checksum_is_neither_stored_nor_acknowledged",
        ),
    ),
    Mechanism(
        promise="P7",
        name="counts agree",
        what="A frame whose two record counts differ is undecodable.",
        file="transport/teltonika/avl.py",
        where="decode_avl",
        code="count != body[end] or not count",
        mutant="not count",
        without="the first count is believed",
        tests=("transport/test_avl.py::test_record_counts_that_disagree_are_refused",),
    ),
    Mechanism(
        promise="P7",
        name="records fill their frame",
        what="A frame whose records do not fill it exactly is undecodable.",
        file="transport/teltonika/avl.py",
        where="_records",
        code="""
            if at != end:
                ...
        """,
        mutant="""
            if False:
                ...
        """,
        without="what is left over is dropped and acknowledged",
        tests=("transport/test_avl.py::test_counts_that_agree_on_another_number_are_refused",),
    ),
    Mechanism(
        promise="P7",
        name="a guessed layout is compared",
        what="A record is read by a remembered layout only if its counts and ids are those of the layout.",
        file="transport/teltonika/layout_cache.py",
        where="LayoutCache.find",
        code="not odd & plain.mask",
        mutant="True",
        without="values are stored under the ids of another record",
        tests=(
            "transport/test_layout.py::test_shapes_that_begin_alike_are_told_apart_however_many_there_are",
        ),
    ),
    Mechanism(
        promise="P7",
        name="a store that fails is not healthy",
        what="While frames are not stored, devices are looked at that wait for theirs.",
        file="store/streams/telemetry.py",
        where="Telemetry._recover",
        code="self.healthy = False",
        mutant="",
        without="a device waits for its acknowledgement for ever",
        tests=("store/test_telemetry_outages.py::test_an_outage_drops_only_frames_of_closed_connections",),
    ),
    Mechanism(
        promise="P7",
        name="room is checked",
        what="A record that reaches beyond its frame is undecodable.",
        file="transport/teltonika/layout.py",
        where="check_room",
        code="""
            if stop > end:
                ...
        """,
        mutant="""
            if False:
                ...
        """,
        without="half a record is stored and acknowledged",
        tests=("transport/test_avl.py::test_a_body_cut_short_anywhere_is_refused",),
    ),
    Mechanism(
        promise="P7",
        name="01 before anything else",
        what="What a device sends before it has been let in is not read until then.",
        file="transport/teltonika/stream.py",
        where="DeviceStream.feed",
        code="not self.started",
        mutant="self._handshake is not None",
        without="while Redis is slow the first acknowledgement is read as a refusal",
        tests=("transport/test_protocol.py::test_a_device_reads_01_before_its_first_acknowledgement",),
    ),
    Mechanism(
        promise="bounds",
        name="the frames of a connection that ends",
        what="What the store has not confirmed when a connection ends is dropped.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._drop_unstored",
        code="self._context.telemetry.drop(frame)",
        mutant="",
        without="an outage keeps the frames of devices that come and go",
        tests=("transport/test_protocol.py::test_what_is_not_stored_when_a_connection_ends_is_dropped",),
    ),
    Mechanism(
        promise="faults",
        name="a half-closed connection is acknowledged",
        what="A device that has closed its side is kept until what it has sent is stored and acknowledged.",
        file="transport/connection/protocol.py",
        where="DeviceConnection.eof_received",
        code="self.half_closed = True",
        mutant="return False",
        without="its records are stored, or not, and it does not learn which",
        tests=(
            "transport/test_link.py::"
            "test_who_has_closed_its_side_is_not_waited_for_longer_than_half_a_minute",
        ),
    ),
    Mechanism(
        promise="P7",
        name="acks in the order of the frames",
        what="Each confirmation acknowledges the oldest frame that waits.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._stored",
        code="self._unacked.pop(0)",
        mutant="self._unacked.pop()",
        without="a device reads another frame's count and sends again, or worse, does not",
        tests=("transport/test_protocol.py::test_frames_are_acknowledged_in_their_order",),
    ),
    Mechanism(
        promise="bounds",
        name="a flush of records has a bound",
        what="The last records are waited for only so long.",
        file="store/streams/telemetry.py",
        where="Telemetry.flush",
        code="""
            async with asyncio.timeout(within):
                ...
        """,
        mutant="""
            if True:
                ...
        """,
        without="a gateway never ends while Redis is away",
        tests=("store/test_queues.py::test_what_cannot_be_saved_is_waited_for_only_so_long[telemetry]",),
    ),
    Mechanism(
        promise="bounds",
        name="stores that fail are followed by a wait",
        what="Between two calls that fail there is a wait.",
        file="store/streams/telemetry.py",
        where="Telemetry._recover",
        code="self._backoff.wait(self._stop)",
        mutant="asyncio.sleep(0)",
        without="Redis is called without end while it is away",
        tests=(("store/test_queues.py::test_failed_calls_are_repeated_with_a_pause[telemetry]"),),
    ),
)
