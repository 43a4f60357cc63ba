"""Handing an entry over to a gateway, again after errors that may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fsm.errors import GatewayFault
from store.streams.producer import NotPublished, Producer, StoreUnreachable

from .subscription import may_pass

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two attempts."""


class DeviceNotConnected(GatewayFault):
    """No gateway holds the device. Nothing was sent."""

    def __init__(self, imei: str) -> None:
        super().__init__(f"No gateway holds the device {imei}.")
        self.imei = imei


class NoGateway(GatewayFault):
    """No gateway is alive, so none can take what any of them could take. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__("No gateway is alive.")


class UnknownCommand(GatewayFault):
    """Redis knows no command with this id, or knows it no longer. Nothing was sent."""

    def __init__(self, command_id: str) -> None:
        super().__init__(f"The command {command_id} is unknown.")
        self.command_id = command_id


@dataclass(slots=True, frozen=True)
class Sent:
    """A command, or a cancel, that was handed over.

    Attributes:
        instance_id: the gateway that got it.
        outbound_id: the id of its entry on the stream of that gateway.
    """

    command_id: str
    instance_id: str
    outbound_id: str


async def hand_over(
    producer: Producer,
    address: Callable[[], Awaitable[tuple[str, dict[str, str]]]],
    patience: float,
    on_error: Callable[[Exception], None],
) -> Sent:
    """Append an entry to the stream of an instance; repeat it for `patience` seconds while calls fail.

    Args:
        address: the instance and the entry; asked before each attempt, because the device may have moved.
        on_error: called with each error after which there is another attempt.

    Raises:
        NotPublished: nothing was appended.
        StoreUnreachable: it may have been appended.
        GatewayFault: what `address` raises.
    """
    clock = asyncio.get_running_loop().time
    deadline, pause, maybe = clock() + patience, FIRST_PAUSE, False
    while True:
        appending = False
        try:
            instance_id, fields = await address()
            appending = True
            outbound_id = await producer.publish(instance_id, fields)
            return Sent(fields["command_id"], instance_id, outbound_id)
        except StoreUnreachable as error:
            maybe = maybe or (appending and not isinstance(error, NotPublished))
            if not may_pass(error.__cause__) or clock() + pause > deadline:
                raise (StoreUnreachable if maybe else NotPublished)(str(error)) from error.__cause__
            on_error(error)
        except GatewayFault as error:
            if maybe:
                raise StoreUnreachable(f"{error} It may have been handed over before.") from error
            raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
