"""`Gateways`: what a back end does with a fleet of gateways, through Redis."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack, cast

from redis.asyncio import Redis

from fsm.outbound import WAIT
from store.client.client import connect
from store.client.errors import StoreError
from store.keys import Keys
from store.streams.entry_ids import before
from store.streams.messages import (
    CommandEvent,
    DeviceMessage,
    Message,
    Note,
    RawEntry,
    TelemetryRecord,
    read_device_message,
    read_message,
    read_telemetry,
)
from store.streams.producer import LogEntry, Producer, StoreUnreachable
from store.streams.shard_counts import ShardClient, shard_clients

from .command_entry import CommandOptions, command_entry
from .hand_over import DeviceNotConnected, NoGateway, Sent, UnknownCommand, hand_over
from .seen import Seen
from .sharded import ShardedSubscription
from .subscription import BLOCK, RETRY, Subscription, SubscriptionOptions, may_pass

M = TypeVar("M")


def log_error(error: Exception) -> None:
    """Write an error that is not raised to the logger ``store.api``."""
    logging.getLogger("store.api").log(logging.WARNING, "%s", error, exc_info=error.__cause__)


class Gateways:
    """A client of the gateways that share a Redis. Make it with `connect`, as an async context manager.

    Args:
        client: of Redis; its ``socket_timeout`` has to be longer than a second.
        on_error: called with each error that is survived and not raised: an outage of Redis, a handler that
            failed, an entry that is no message.
        shard_client: makes a client for a shard of telemetry; by default `client` reads all.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        on_error: Callable[[Exception], None] = log_error,
        shard_client: ShardClient | None = None,
    ) -> None:
        self._client = client
        self._shard_client = shard_client
        self._shard_clients: dict[Keys, Redis] = {}
        self._keys = keys
        self._producer = Producer(client, keys)
        self._on_error = on_error
        self._subscriptions: list[Subscription[Any]] = []

    @classmethod
    def connect(
        cls, url: str, *, key_prefix: str = "", on_error: Callable[[Exception], None] = log_error
    ) -> Gateways:
        """A client of the Redis at `url`, which is read as ``telgw --redis`` reads it. Nothing is sent yet.

        Raises:
            BadRedisUrl: the URL cannot be used.
        """
        client = connect(url, purpose="client", block=BLOCK, key_prefix=key_prefix)
        return cls(client, Keys(key_prefix), on_error, shard_clients(url, "client", key_prefix, BLOCK))

    async def __aenter__(self) -> Gateways:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Acknowledge what was handled, and close the connections."""
        for subscription in self._subscriptions:
            with suppress(StoreError):
                await subscription.acknowledge()
        for client in (*self._shard_clients.values(), self._client):
            await client.aclose()

    def _client_of(self, shard: Keys) -> Redis:
        """The client that reads a shard."""
        if self._shard_client is None:
            return self._client
        if shard not in self._shard_clients:
            self._shard_clients[shard] = self._shard_client(shard)
        return self._shard_clients[shard]

    async def send(
        self, imei: str, payload: str, *, patience: float = 10.0, **options: Unpack[CommandOptions]
    ) -> Sent:
        """Hand a command over to the gateway that holds the device.

        After a failed call the same entry is sent again: a gateway takes a `command_id` once, so a repetition
        that arrives twice is harmless. The same holds for a caller that repeats `send` with its own id.

        Args:
            payload: the text, sent byte for byte.
            patience: seconds for which failed calls are repeated.
            options: see `CommandOptions`.

        Raises:
            InvalidCommand: a gateway would refuse it.
            DeviceNotConnected: no gateway holds the device.
            NoGateway: none is alive that could take a command for a device to be waited for.
            NotPublished: Redis cannot be used, and nothing was handed over.
            StoreUnreachable: it may have been handed over: send it again with the same `command_id`.
        """
        build = partial(command_entry, imei, payload, **options)
        ready = build(now_ms=round(time.time() * 1000))  # to refuse it before Redis is asked
        fields: list[dict[str, str]] = [] if "expires_at" in ready else [ready]

        async def address() -> tuple[str, dict[str, str]]:
            if not fields:
                fields.append(
                    build(now_ms=await self._producer.now_ms()) | {"command_id": ready["command_id"]}
                )
            if found := await self._producer.holder(imei):
                return found, fields[0]
            if options.get("offline") != WAIT:
                raise DeviceNotConnected(imei)
            return await self._any_gateway(), fields[0]

        return await hand_over(self._producer, address, patience, self._on_error)

    async def cancel(self, command_id: str, *, patience: float = 10.0) -> Sent:
        """Ask for a command to be cancelled that is not sent yet; its outcome says whether it was.

        Raises:
            UnknownCommand: no gateway has accepted it, or its ledger has expired.
            NoGateway: it waits for its device, and none is alive that could cancel it.
            NotPublished, StoreUnreachable: as `send` does.
        """

        fields = {"type": "cancel", "command_id": command_id}

        async def address() -> tuple[str, dict[str, str]]:
            found = await self._producer.ledger_field(command_id, "instance_id")
            if found is None:
                raise UnknownCommand(command_id)
            return found or await self._any_gateway(), fields

        return await hand_over(self._producer, address, patience, self._on_error)

    async def _any_gateway(self) -> str:
        """A gateway for what any of them can take."""
        if found := await self._producer.live_instance():
            return found
        raise NoGateway

    async def position(self) -> str:
        """The id of the last entry of the log, to follow a command from here."""
        return await self._producer.tail()

    async def follow(self, command_id: str, *, after: str = "") -> AsyncIterator[CommandEvent | Note]:
        """The events and notes of a command, as they come; ends after its terminal event.

        An outage of Redis delays and ends nothing. A command that no gateway has accepted has no event: limit
        the time with `asyncio.timeout`.

        Args:
            after: begin behind this entry of the log; without it, with the first event of the command.
        """
        async for _, message in self.entries(command_id, after=after):
            if message is not None:
                yield message

    async def entries(
        self, command_id: str, *, after: str = "", sent_after: str = ""
    ) -> AsyncIterator[tuple[LogEntry, CommandEvent | Note | None]]:
        """As `follow`, with the entry of each message; the message is None if the entry cannot be read.

        Args:
            sent_after: a position from before the command was sent, to begin there if it has no ledger. With
                it, an outage right after the sending hides no event.
        """
        seen = Seen()
        async for entry in self._log(after, partial(self._begin, command_id, sent_after)):
            if entry[1].get("command_id") != command_id:
                continue
            message = _message_of(entry[1])
            if seen.is_known(message):
                continue
            seen.add(message)
            yield entry, message
            if entry[1].get("kind") == "command" and entry[1].get("terminal") == "1":
                return  # also of a version that writes it in another form

    async def outcome(self, command_id: str) -> CommandEvent:
        """The terminal event of a command, which is waited for."""
        async for message in self.follow(command_id):
            if isinstance(message, CommandEvent) and message.terminal:
                return message
        raise AssertionError("the events of a command end with its terminal event")

    def log(self, after: str) -> AsyncIterator[LogEntry]:
        """All entries of the log behind `after`, as they come, for ever; an outage of Redis delays them."""
        return self._log(after, self.position)

    async def _log(self, position: str, begin: Callable[[], Awaitable[str]]) -> AsyncIterator[LogEntry]:
        """The entries of the log behind `position`, or if it is empty, behind what `begin` finds."""
        while True:
            try:
                position = position or await begin()
                async for entry in self._producer.follow(position, BLOCK):
                    position = entry[0]
                    yield entry
            except StoreUnreachable as error:
                if not may_pass(error.__cause__):
                    raise
                self._on_error(error)
                await asyncio.sleep(RETRY)

    async def _begin(self, command_id: str, sent_after: str) -> str:
        """The id behind which the first event of a command is. The tail is asked first: a command that is
        accepted after that has all of its events behind it."""
        tail = sent_after or await self._producer.tail()
        first = await self._producer.ledger_field(command_id, "first")
        return before(first) if first else tail

    def events(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> Subscription[Message]:
        """The events and notes of all commands and sessions, for a consumer group of your own.

        Args:
            group: each group gets every event; the consumers of one group share them.
            consumer: the name of this process in the group, the same after a restart and another one for
                each process; the name of this host by default.
            options: see `SubscriptionOptions`.
        """
        return self._subscribe(self._keys.responses, read_message, group, consumer, **options)

    def records(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> ShardedSubscription[TelemetryRecord]:
        """The records of all devices, of all shards, each at least once; arguments as of `events`."""

        def read_shard(shard: Keys, **given: Unpack[SubscriptionOptions]) -> Subscription[TelemetryRecord]:
            client = self._client_of(shard)
            return self._subscribe(shard.telemetry, read_telemetry, group, consumer, client, **given)

        return ShardedSubscription(self._client, self._keys, read_shard, self._on_error, **options)

    def messages(
        self, *, group: str, consumer: str = "", **options: Unpack[SubscriptionOptions]
    ) -> Subscription[DeviceMessage]:
        """What serial ports of devices have sent, each message at least once; arguments as of `events`."""
        return self._subscribe(self._keys.messages, read_device_message, group, consumer, **options)

    def _subscribe(
        self,
        stream: str,
        read: Callable[[RawEntry], M | None],
        group: str,
        consumer: str,
        client: Redis | None = None,
        **options: Unpack[SubscriptionOptions],
    ) -> Subscription[M]:
        name, where = consumer or socket.gethostname(), client or self._client
        made = Subscription(where, stream, group, name, read, self._on_error, **options)
        self._subscriptions.append(made)
        return made


def _message_of(fields: dict[str, str]) -> CommandEvent | Note | None:
    try:
        return cast("CommandEvent | Note | None", read_message(fields))
    except ValueError:
        return None
