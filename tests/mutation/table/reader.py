"""Mechanisms of the reader of the stream, and the clients of Redis."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P2",
        name="read again after an error",
        what="After a failed read the pending list is read from its beginning.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code='self._cursor, self._look_in = "0", _FIRST_LOOK',
        mutant="self._look_in = _FIRST_LOOK",
        without="what a lost reply held is never seen again",
        tests=("store/test_outbound.py::test_after_an_error_it_begins_anew",),
    ),
    Mechanism(
        promise="P2",
        name="pending first at the start",
        what="A process begins with what an earlier one left pending.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code='self._cursor = "0"',
        mutant='self._cursor = ">"',
        without="a restart forgets the commands in flight",
        tests=("store/test_outbound.py::test_it_begins_with_what_is_pending_under_any_name",),
    ),
    Mechanism(
        promise="P2",
        name="the pending list is looked at again",
        what="Every 30 s all that is pending is handed over again; what is in hand is dropped.",
        file="store/streams/outbound.py",
        where="OutboundReader._turn",
        code="if now >= self._reclaim_at: ...",
        mutant="",
        without="an entry that was let go waits for a restart",
        tests=("store/test_outbound.py::test_what_is_pending_is_looked_at_again_when_it_is_time",),
    ),
    Mechanism(
        promise="P2",
        name="what the group was moved past is found",
        what="Each look finds entries that are neither pending nor to be read.",
        file="store/streams/outbound.py",
        where="OutboundReader._reclaim",
        code="await self._find_skipped(pending)",
        mutant="",
        without="after XGROUP SETID commands stay without a verdict for ever",
        tests=(
            "redis/test_outbound_reader.py::"
            "test_entries_that_the_group_was_moved_past_are_found[valkey-move_on]",
        ),
    ),
    Mechanism(
        promise="P5",
        name="it is looked at soon at first",
        what="At first the pending list is looked at after a second, and then ever more seldom.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code="""
            await self._ensure_group_quietly()
            self._plan_look()
        """,
        mutant="await self._ensure_group_quietly()",
        without="what an earlier process of our id read in its last moment waits for 30 s",
        tests=(
            "store/test_outbound.py::"
            "test_it_is_looked_at_soon_at_first_and_after_an_error_and_then_ever_more_seldom",
        ),
    ),
    Mechanism(
        promise="P5",
        name="it is looked at soon after an error",
        what="After an error the pending list is looked at again after a second.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code="""
            self._cursor, self._look_in = "0", _FIRST_LOOK
            self._plan_look()
        """,
        mutant='self._cursor = "0"',
        without="a read that we gave up and Redis carried out later waits for 30 s",
        tests=(
            "store/test_outbound.py::"
            "test_it_is_looked_at_soon_at_first_and_after_an_error_and_then_ever_more_seldom",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a vanished group is made again",
        what="When the group is gone it is made again.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code="if isinstance(error, StoreRefused): ...",
        mutant="",
        without="a Redis that came back empty is never read again",
        tests=(
            "store/test_outbound.py::"
            "test_a_group_is_made_to_read_from_the_beginning_and_made_again_when_it_is_gone",
        ),
    ),
    Mechanism(
        promise="P2",
        name="a new group reads from the beginning",
        what="A group is made to read what was written before it.",
        file="store/streams/outbound.py",
        where="OutboundReader._ensure_group_quietly",
        code='id="0"',
        mutant='id="$"',
        without="commands from before are skipped",
        tests=(
            "store/test_outbound.py::"
            "test_a_group_is_made_to_read_from_the_beginning_and_made_again_when_it_is_gone",
        ),
    ),
    Mechanism(
        promise="bounds",
        name="nothing new beyond the limit",
        what="New entries are read only while there is room for them.",
        file="store/streams/outbound.py",
        where="OutboundReader._turn",
        code="not draining and not await self._may_take()",
        mutant="False",
        without="every command of the stream is taken into memory",
        tests=("store/test_outbound.py::test_without_room_what_is_pending_is_read_and_nothing_new",),
    ),
    Mechanism(
        promise="bounds",
        name="the last look is bounded too",
        what="At shutdown, too, no more is taken than there is room for.",
        file="store/streams/outbound.py",
        where="OutboundReader.sweep",
        code="self._may_read() and (entries := await self._next_batch(cursor, False))",
        mutant="entries := await self._next_batch(cursor, False)",
        without="a full stream is taken into a process that ends",
        tests=("store/test_outbound.py::test_what_is_too_much_to_hold_is_left_to_the_next_start",),
    ),
    Mechanism(
        promise="P2",
        name="a deleted entry is let go",
        what="An entry that was deleted while it was pending is acknowledged.",
        file="store/streams/outbound.py",
        where="OutboundReader._hand_over",
        code="await self._client.xack(self._stream, GROUP, *gone)",
        mutant="",
        without="it stays pending for ever",
        tests=("store/test_outbound.py::test_an_entry_that_is_gone_is_acknowledged_and_handed_to_nobody",),
    ),
    Mechanism(
        promise="P1",
        name="no client repeats a write",
        what="The client of Redis never repeats a call by itself.",
        file="store/client/client.py",
        where="connect",
        code='"retry_on_error": []',
        mutant='"retry_on_error": [ConnectionError], "retry": Retry(NoBackoff(), 3)',
        without="a lost reply stores an entry twice",
        tests=("store/test_client.py::test_a_call_whose_reply_is_lost_was_made_once",),
    ),
    Mechanism(
        promise="P2",
        name="a reader waits longer than it blocks",
        what="The socket of a reader waits longer than its read blocks on the server.",
        file="store/client/client.py",
        where="connect",
        code="block + READER_MARGIN if block else TIMEOUT",
        mutant="TIMEOUT",
        without="every quiet read is an error",
        tests=("store/test_client.py::test_a_read_may_take_longer_than_it_blocks",),
    ),
    Mechanism(
        promise="P2",
        name="what passes by waiting",
        what="A server that takes no writes for now is told from one that never will.",
        file="store/client/errors.py",
        where="is_transient",
        code="bool(_NOT_NOW.search(str(error)))",
        mutant="False",
        without="a Redis without memory is taken for a rule against the command",
        tests=("store/test_client.py::test_what_passes_by_waiting_is_told_from_what_does_not",),
    ),
    Mechanism(
        promise="P2",
        name="a forgotten script is sent again",
        what="A server that does not know a script is given it.",
        file="store/client/script.py",
        where="Script.__call__",
        code="""
            if error.code != 'NOSCRIPT':
                ...
        """,
        mutant="...",
        without="after SCRIPT FLUSH nothing works",
        tests=("redis/test_store_server.py::test_a_script_that_the_server_forgot_is_sent_whole[valkey]",),
    ),
    Mechanism(
        promise="bounds",
        name="failed reads are followed by a pause",
        what="After an error the reader waits, longer each time.",
        file="store/streams/outbound.py",
        where="OutboundReader.run",
        code="await self._pause(backoff * random.uniform(0.5, 1.0))",
        mutant="",
        without="a group that is gone makes a loop that takes a processor",
        tests=("store/test_outbound.py::test_errors_in_a_row_are_followed_by_ever_longer_pauses",),
    ),
    Mechanism(
        promise="P2",
        name="bytes stay bytes",
        what="What others wrote is decoded entry by entry, never by the client.",
        file="store/client/client.py",
        where="connect",
        code="'decode_responses': False",
        mutant="'decode_responses': True",
        without="one field that is no text stops every command behind it",
        tests=(
            "redis/test_outbound_reader.py::test_fields_that_are_no_text_arrive_as_they_were_written[valkey]",
        ),
    ),
    Mechanism(
        promise="P2",
        name="read when the time is known",
        what="Commands are read from when the instance id is ours and the time of Redis known.",
        file="transport/daemon/gateway.py",
        where="Gateway._read",
        code="await self._owns.wait()",
        mutant="",
        without="with a wall clock that is wrong a command expires at once, or hours late",
        tests=(
            "transport/test_gateway_order.py::"
            "test_commands_are_read_from_when_the_instance_id_is_ours_and_the_time_of_redis_known",
        ),
    ),
    Mechanism(
        promise="P2",
        name="no last look of another's commands",
        what="A process that never owned its instance id takes no last look at its commands.",
        file="transport/daemon/gateway.py",
        where="Gateway._stop_commands",
        code="self._owns.is_set()",
        mutant="True",
        without="it ends commands of the process that does",
        tests=(
            "transport/test_gateway_order.py::"
            "test_a_gateway_that_never_owned_its_instance_id_takes_over_nothing_while_it_stops"
            "[False-stops1]",
        ),
    ),
    Mechanism(
        promise="P5",
        name="what a replaced process has taken comes first",
        what="While a replaced process may read, all is taken from the pending list, in its order.",
        file="store/streams/outbound.py",
        where="OutboundReader._turn",
        code="entries and not draining and now < self._shared_until",
        mutant="False",
        without="what it took in its last moment is overtaken",
        tests=(
            "store/test_outbound.py::"
            "test_while_a_replaced_process_may_read_too_what_it_has_taken_comes_first",
        ),
    ),
    Mechanism(
        promise="P5",
        name="who was replaced takes nothing",
        what="Who has slept over a beat asks whether the instance id is still its own before it reads.",
        file="store/streams/outbound.py",
        where="OutboundReader._may_take",
        code="self._may_read() and (self._owns is None or await self._owns())",
        mutant="self._may_read()",
        without="a process that wakes up takes what its successor has to find again",
        tests=("store/test_outbound.py::test_a_process_that_was_replaced_takes_nothing_new",),
    ),
)
