"""Mechanisms of what a stream of bytes may cost, and what is no frame."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="bounds",
        name="length cap",
        what="A frame that declares an impossible length is refused before its body is kept.",
        file="transport/teltonika/frame.py",
        where="wire_size",
        code="length > MESSAGE_LIMIT",
        mutant="False",
        without="four bytes reserve 4 GiB",
        tests=("transport/test_frame.py::test_an_impossible_length_is_refused_before_its_body",),
    ),
    Mechanism(
        promise="bounds",
        name="length cap by codec",
        what="Only message codecs may have frames beyond `--max-frame`.",
        file="transport/teltonika/frame.py",
        where="wire_size",
        code="codec not in MESSAGE_CODECS",
        mutant="False",
        without="every connection can keep 64 KiB of ours",
        tests=("transport/test_frame.py::test_a_length_is_checked_again_once_the_codec_is_known",),
    ),
    Mechanism(
        promise="bounds",
        name="preamble",
        what="A frame begins with four zero bytes.",
        file="transport/teltonika/frame.py",
        where="wire_size",
        code="""
            if any(start):
                ...
        """,
        mutant="""
            if False:
                ...
        """,
        without="noise is read as a length",
        tests=("transport/test_frame.py::test_framing_is_lost_at_the_first_wrong_byte",),
    ),
    Mechanism(
        promise="bounds",
        name="pings are bounded",
        what="Before a handshake 64 network pings are tolerated.",
        file="transport/teltonika/handshake.py",
        where="HandshakeReader._without_pings",
        code="self.pings > PING_LIMIT",
        mutant="False",
        without="an unidentified device may send them for ever",
        tests=("transport/test_handshake.py::test_pings_before_a_handshake_are_bounded",),
    ),
    Mechanism(
        promise="bounds",
        name="layouts are bounded",
        what="So many record layouts are remembered.",
        file="transport/teltonika/layout_cache.py",
        where="LayoutCache._count",
        code="self._ids > ID_LIMIT or len(self._drawn) >= LAYOUT_LIMIT",
        mutant="False",
        without="a device that invents one per record fills the memory",
        tests=("transport/test_layout.py::test_a_hostile_device_cannot_fill_the_memory_with_layouts",),
    ),
    Mechanism(
        promise="bounds",
        name="encoders are bounded",
        what="So many encoders of records are remembered.",
        file="transport/teltonika/record_encoder.py",
        where="count",
        code="sum(1 + len(each.ids) for each in _compiled) > IDS_LIMIT",
        mutant="False",
        without="a device that repeats ever new layouts fills the memory",
        tests=("transport/test_record_json.py::test_ever_new_shapes_do_not_fill_the_memory",),
    ),
    Mechanism(
        promise="bounds",
        name="keepalive",
        what="The kernel asks an idle connection whether its peer is still there.",
        file="transport/connection/tcp.py",
        where="bind",
        code="sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
        mutant="",
        without="a link that was cut while idle stays open for ever",
        tests=("transport/test_tcp.py::test_an_idle_link_is_asked_whether_it_is_still_there",),
    ),
    Mechanism(
        promise="bounds",
        name="user timeout",
        what="The kernel gives up a connection that has not acknowledged a byte for 60 s.",
        file="transport/connection/tcp.py",
        where="bind",
        code="sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)",
        mutant="",
        without="a link that was cut with bytes under way stays open for a quarter of an hour",
        tests=("transport/test_tcp.py::test_unacknowledged_bytes_end_the_connection_in_time",),
    ),
    Mechanism(
        promise="P4",
        name="a message is as long as it says",
        what="A codec 12 to 15 frame whose size is not that of its text is no message.",
        file="transport/teltonika/command.py",
        where="_check_size",
        code="declared > present or (last and declared != present)",
        mutant="False",
        without="a damaged frame is taken for an answer",
        tests=("transport/test_command.py::test_a_size_that_is_not_what_follows_is_refused",),
    ),
    Mechanism(
        promise="P4",
        name="several messages answer nothing",
        what="An answer is alone in its frame: several messages are packets of a serial port.",
        file="transport/commands/device_queue.py",
        where="answers",
        code="CODEC_NAMES.get(message.codec) != codec or message.quantity != 1",
        mutant="CODEC_NAMES.get(message.codec) != codec",
        without="the first of several serial packets is taken for the answer",
        tests=("transport/test_protocol_messages.py::test_merged_messages_are_no_answer",),
    ),
)
