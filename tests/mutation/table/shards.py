"""Mechanisms of the shards of telemetry."""

from __future__ import annotations

from tests.mutation.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        promise="P6",
        name="a device has the store and back-pressure of its shard",
        what="With its IMEI a connection gets the store, the backlog and the back-pressure of its shard.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._join",
        code="self._context = context",
        mutant="",
        without="all records go to one store, and a shard that is away pauses every device",
        tests=("transport/test_shards.py::test_a_full_shard_pauses_its_own_devices_only",),
    ),
    Mechanism(
        promise="bounds",
        name="a device of a full shard waits for its turn",
        what="A connection whose shard is full is not read from its first frame on.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._join",
        code="context is not self._context and context.backpressure.in_turns",
        mutant="False",
        without="devices that connect while a shard is away fill the memory",
        tests=(
            "transport/test_shards.py"
            "::test_a_device_of_a_full_shard_is_accepted_and_its_records_wait_in_its_socket",
        ),
    ),
    Mechanism(
        promise="P6",
        name="messages wait apart from records",
        what="What is not acknowledged is stored where ledger and registry are, not in a shard.",
        file="transport/connection/protocol.py",
        where="DeviceConnection._keep",
        code="self._context.messages.store(frame)",
        mutant="self._context.telemetry.store(frame)",
        without="messages are not on the stream that consumers read",
        tests=("transport/test_shards.py::test_what_is_not_acknowledged_goes_to_the_store_of_the_fleet",),
    ),
    Mechanism(
        promise="P7",
        name="a stream from before there were shards is noted",
        what="A gateway with several shards notes that there is a stream of one, which may not be read yet.",
        file="store/streams/shard_counts.py",
        where="ShardCounts.note",
        code='await self._client.hsetnx(key, "1", now_ms)',
        mutant="pass",
        without="consumers do not read records that an earlier version has stored",
        tests=(
            "contract/test_shard_counts.py::test_a_stream_from_before_there_were_shards_is_noted[in_memory]",
        ),
    ),
    Mechanism(
        promise="P7",
        name="an old shard is emptied only of what is read",
        what="Entries of an old shard go when every group has read them and they are older than the retention.",
        file="store/streams/trimming.py",
        where="empty_stream",
        code="min((max(0, now_ms - retention_ms), 0), floor)",
        mutant="(max(0, now_ms - retention_ms), 0)",
        without="another number of shards costs records that nobody has read",
        tests=(
            "contract/test_shard_counts.py"
            "::test_an_old_shard_is_kept_until_all_is_read_and_then_forgotten[in_memory]",
        ),
    ),
)
