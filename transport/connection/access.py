"""Decides which devices may connect, by their certificates and by the allow-list if there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from fsm.device_terms import Absence, Listed, Terms
from fsm.reasons import DEVICE_REFUSED
from fsm.takeover import CERTIFICATE
from transport.clock import Clock
from transport.connection.allow_list import AllowListPort
from transport.connection.certificate import OFF, names
from transport.connection.ports import SessionConnection
from transport.connection.sessions import Sessions
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics

log = structlog.get_logger("telgw.sessions")

OWN, ANOTHER = "gateway_certificate", "certificate_name"
"""Reasons of a refusal: a device shows the certificate of the gateway, or one that does not name it."""
CHECKED_AT_ONCE = 200
"""Sessions that are compared with a new list in one turn of the loop."""


class Visitor(Protocol):
    """What is known of a device that wants to connect."""

    @property
    def host(self) -> str:
        """Its address."""

    @property
    def auth(self) -> str:
        """How it proves who it is, see `transport.connection.authentication`."""


class AccessControl:
    """Compares devices with their certificates and with the allow-list, and logs refused ones.

    Args:
        allow_list: None if every device may connect.
        when_unavailable: whether devices may connect of which nothing is known.
        binding: which name of a certificate is the IMEI, see `transport.connection.certificate`.

    Attributes:
        own: the certificates that the gateway has had since its start, as `Visitor.auth` names them. Its
            certificate and those of devices may have one CA, but it is no device.
    """

    def __init__(
        self,
        allow_list: AllowListPort | None,
        metrics: Metrics,
        *,
        when_unavailable: bool = False,
        binding: str = OFF,
    ) -> None:
        self._list = allow_list
        self._metrics = metrics
        self._when_unavailable = when_unavailable
        self._binding = binding
        self.own: set[str] = set()
        self._refusals = LogThrottle()

    def refusal(
        self, imei: str, device: Visitor, transport: asyncio.BaseTransport | None = None
    ) -> str | None:
        """Why the device may not connect; empty if it may; None if the caller has to `ask`.

        Args:
            transport: of a device that connects now; its certificate is compared, too.
        """
        if transport is not None and device.auth.startswith(CERTIFICATE):
            if device.auth in self.own:
                return OWN
            if not names(transport.get_extra_info("peercert") or {}, imei, self._binding):
                return ANOTHER
        if self._list is None:
            return ""
        listed = self._list.look_up(imei)
        if listed is None:
            return None
        refusal = self._judge(listed, device)
        return None if refusal and self._list.is_copy else refusal

    def vouches(self, device: Visitor) -> bool:
        """Whether the operator knows a device that may connect: by a list, or by its certificate."""
        return self._list is not None or device.auth.startswith(CERTIFICATE)

    def ask(self, imei: str, device: Visitor, done: Callable[[str], None]) -> None:
        """Look the device up; `done` is called within a second with what `refusal` returns."""
        assert self._list is not None
        self._list.ask(imei, lambda listed: done(self._judge(listed, device)))

    def _judge(self, listed: Listed, device: Visitor) -> str:
        if isinstance(listed, Terms):
            return listed.refusal(device.host, device.auth)
        return "" if listed is Absence.UNKNOWN and self._when_unavailable else listed.value

    def refused(self, imei: str, peer: str, reason: str, now: float) -> None:
        """Count a refused device, and log it once a minute."""
        self._metrics.refused.labels(reason).inc()
        if self._refusals.allow(imei, now):
            log.warning("device_refused", imei=imei, peer=peer, reason=reason)

    # Devices that are taken off the list

    async def close_removed(self, sessions: Sessions, clock: Clock) -> None:
        """Close sessions that the list does not admit any more, after each change of it, until cancelled.

        What cannot be looked up stays: an outage disconnects nobody.
        """
        if self._list is None:
            return
        while True:
            await self._list.changed.wait()
            self._list.changed.clear()
            for number, connection in enumerate(list(sessions.by_imei.values()), 1):
                self._check(connection, clock)
                if number % CHECKED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _check(self, connection: SessionConnection, clock: Clock) -> None:
        def judged(refusal: str) -> None:
            if refusal not in ("", Absence.UNKNOWN) and not connection.closed:
                self.refused(connection.imei, connection.peer, refusal, clock.monotonic())
                connection.close(DEVICE_REFUSED)

        refusal = self.refusal(connection.imei, connection)
        if refusal is None:
            self.ask(connection.imei, connection, judged)
        else:
            judged(refusal)
