"""The client for programs that send commands and read events and telemetry: the back end of a fleet.

    gateways        `Gateways`: send, cancel, follow, events, records, messages
    blocking        `BlockingGateways`: the same for programs without asyncio
    subscription    reading a stream with a consumer group, by the rules for consumers
    sharded         the same for the records of a fleet, whose streams may be several and change
    deliveries      giving messages one by one
    seen            the guard against events that were handled already
    command_entry   the entry of a command, validated as a gateway validates it
    hand_over       appending it to the stream of a gateway, again after errors that may pass

    async with Gateways.connect("redis://127.0.0.1") as gateways:
        sent = await gateways.send("352093081452251", "getinfo")
        event = await gateways.outcome(sent.command_id)
        print(event.state, event.delivery, event.response)

It calls `client`, `keys` and `streams`; ``telgw send`` and ``telgw cancel`` are built on it. It repeats no
rule of the gateway: what a gateway would refuse is judged by `fsm.outbound`. The names below are the public
interface, see ``docs/client.md``.
"""

from fsm.errors import InvalidCommand
from store.streams.messages import CommandEvent, DeviceMessage, Message, Note, SessionEvent, TelemetryRecord
from store.streams.producer import NotPublished, StoreUnreachable
from store.streams.record_data import RecordData

from .blocking import BlockingGateways, BlockingSubscription
from .command_entry import CommandOptions
from .gateways import Gateways
from .hand_over import DeviceNotConnected, NoGateway, Sent, UnknownCommand
from .sharded import ShardedSubscription
from .subscription import EntryNotHandled, EntryUnreadable, Subscription, SubscriptionOptions

__all__ = [
    "BlockingGateways",
    "BlockingSubscription",
    "CommandEvent",
    "CommandOptions",
    "DeviceMessage",
    "DeviceNotConnected",
    "EntryNotHandled",
    "EntryUnreadable",
    "Gateways",
    "InvalidCommand",
    "Message",
    "NoGateway",
    "NotPublished",
    "Note",
    "RecordData",
    "Sent",
    "SessionEvent",
    "ShardedSubscription",
    "StoreUnreachable",
    "Subscription",
    "SubscriptionOptions",
    "TelemetryRecord",
    "UnknownCommand",
]
