"""Who is connected to one process.

Owns every connection from its admission until its socket is closed, in three sets: unidentified, by IMEI, and
closing. A connection reports what has happened to it (`identified`, `ended`, `socket_closed`); the registry,
the session log, the status of devices and the command side are told from here.

Invariants: a device has one session here; a newer one closes the older one `superseded`. A session that was
identified is unregistered when it ends, unless a newer session of the device has replaced it.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import cast

from fsm.events import SessionEvent
from fsm.reasons import NO_PLACE, REJECTED, SHUTDOWN
from fsm.registration import SECURE, Registered, RegisterResult
from fsm.telemetry import PendingFrame
from transport.connection.admission import Admission
from transport.connection.device_rate import DeviceRate
from transport.connection.known_devices import KnownDevices
from transport.connection.newcomers import Place
from transport.connection.places import Places
from transport.connection.ports import SessionConnection
from transport.connection.session_share import SessionShare
from transport.connection.source_budgets import NEW_DEVICES, REFUSALS
from transport.connection.status_board import StatusBoard
from transport.connection.takeovers import Takeovers
from transport.ports import CommandsPort, RegistrarPort


class Sessions:
    """The connections of one process.

    Attributes:
        by_imei: identified connections.
        unidentified: connections that have not sent an IMEI.
        closing: connections that were closed here and whose sockets are not closed yet.
        admission: limits the number of connections; listeners ask it.
        known: devices that were here before.
        places: of the identified connections.
        share: publishes the events of sessions.
        status: tells what people want to know of devices.
    """

    def __init__(
        self,
        boot_id: str,
        admission: Admission,
        takeovers: Takeovers,
        device_rate: DeviceRate,
        commands: CommandsPort,
        registrar: RegistrarPort,
        share: SessionShare,
        status: StatusBoard,
    ) -> None:
        # The command side uses the same table: each connection of a device is its link.
        self.by_imei = cast("dict[str, SessionConnection]", commands.links)
        self.unidentified: set[SessionConnection] = set()
        self.closing: set[SessionConnection] = set()
        self.admission = admission
        self.known = KnownDevices()
        self.places = Places(admission.room, self.by_imei, admission.no_place)
        self.share = share
        self._takeovers = takeovers
        self._device_rate = device_rate
        self._boot_id = boot_id
        self._commands = commands
        self._registrar = registrar
        self.status = status
        self._serial = 0

    def new_session_id(self, secure: bool) -> str:
        """A session id, unique over all processes, that says whether the session has TLS.

        Its number tells the registry which of two sessions of this process is older.
        """
        self._serial += 1
        return f"{self._boot_id}-{self._serial:x}{SECURE if secure else ''}"

    @property
    def connected(self) -> int:
        """Open sockets, including superseded sessions and TLS handshakes in progress."""
        return self.admission.connected

    def all_open(self) -> tuple[SessionConnection, ...]:
        """The connections that are not closed and not closing."""
        return (*self.unidentified, *self.by_imei.values())

    def secure_peer(self, imei: str) -> str:
        """The address of the session with TLS that holds the device here; empty when there is none."""
        holder = self.by_imei.get(imei)
        return holder.peer if holder is not None and holder.secure else ""

    def awaiting(self, frame: PendingFrame) -> SessionConnection | None:
        """The connection whose device waits for the acknowledgement of `frame`."""
        connection = self.by_imei.get(frame.imei.decode("ascii"))
        return connection if connection is not None and connection.awaits(frame) else None

    def recall(self, imeis: Collection[str]) -> bool:
        """Redis says that these devices were known before; whether more can be remembered."""
        wants_more = self.known.recall(imeis)
        for imei in imeis:
            connection = self.by_imei.get(imei)
            if connection is not None and imei in self.known:
                self.places.vouch(connection)
        return wants_more

    # The life of a connection

    def admit(self, connection: SessionConnection, now: float) -> bool:
        """Admit a new connection, unless a limit is reached or the gateway stops.

        A connection that got its place at its accept is not limited any more.
        """
        admission = self.admission
        place: Place | None = connection.place
        if not connection.place.source:  # it was not counted at its accept
            place = admission.enter(connection.host, now)
        if place is None or admission.refusing:
            return False
        connection.place = place
        admission.newcomers.give_way_by(place, partial(connection.close, NO_PLACE))
        self.unidentified.add(connection)
        return True

    def has_place(self, connection: SessionConnection, imei: str, vouched: bool, now: float) -> bool:
        """Whether there is a place for the device that a connection names; another may have given way.

        Args:
            vouched: the operator knows the device.
        """
        place, budgets = connection.place, self.admission.budgets
        place.known = vouched or imei in self.known
        new = not place.known and imei not in self.by_imei and self.known.is_new(imei)
        if new and not budgets.covers(NEW_DEVICES, place.source, now):
            return False
        if not self.places.make(connection, imei, now):
            self.admission.no_place("", now)
            return False
        if new:
            budgets.take(NEW_DEVICES, place.source, now)
        if place.known:
            self.admission.give_back(place, connection.secure)
        return True

    def may_ask(self, connection: SessionConnection, imei: str, now: float) -> bool:
        """Whether the allow-list is asked for the device, or the address was refused too often."""
        source = connection.place.source
        return self.known.at(imei, source) or self.admission.budgets.covers(REFUSALS, source, now)

    def refused(self, connection: SessionConnection, reason: str, now: float) -> None:
        """A connection is answered with `00` for `reason`."""
        if reason == REJECTED:
            self.admission.budgets.take(REFUSALS, connection.place.source, now)

    def identified(self, connection: SessionConnection, now: float) -> None:
        """A device was identified: the connection replaces its older session, here and in the registry."""
        self.unidentified.discard(connection)
        self.admission.release(connection.place)
        connection.place.since = now
        older = self.by_imei.get(connection.imei)
        self.by_imei[connection.imei] = connection
        self.places.enter(connection)
        self._takeovers.superseded(older, connection)
        self._device_rate.begin(connection)
        self._registrar.register(
            connection.imei, connection.session_id, connection.claimant, connection.registered
        )
        self.status.connected(connection)
        self._commands.arrived(connection)

    def proved(self, connection: SessionConnection, now: float) -> None:
        """Something of a device is stored, for the first time in its session."""
        connection.place.proven_at = now
        self.admission.give_back(connection.place, connection.secure)
        self.known.acknowledged(connection.imei, connection.place.source, now)

    def ended(self, connection: SessionConnection, reason: str) -> None:
        """The session of a device is over."""
        self.places.leave(connection)
        self._device_rate.end(connection, connection.last_read)
        place = connection.place
        self.known.left(connection.imei, place.source, place.proven_at, connection.last_read)
        if self.by_imei.get(connection.imei) is connection:
            self._registrar.unregister(connection.imei, connection.session_id)
            self.status.left(connection, reason)
        self._takeovers.ended(connection)
        self._commands.left(connection, reason)

    def socket_closed(self, connection: SessionConnection) -> None:
        """Nothing is kept of the connection."""
        self.unidentified.discard(connection)
        self.closing.discard(connection)
        self._takeovers.socket_closed(connection)
        self.admission.leave(connection.place)

    def changed(self, connection: SessionConnection, event: SessionEvent) -> None:
        """The session of an identified device has another state."""
        self.share.publish(event, connection)
        if self.by_imei.get(connection.imei) is connection:
            self.status.changed(connection)

    def reconciled(self, session_id: str, imei: str, result: RegisterResult) -> None:
        """The result of registering a session again."""
        connection = self.by_imei.get(imei)
        if connection is None or connection.session_id != session_id:
            return
        connection.speaks = connection.speaks or result.speaks
        if result.status is Registered.SUPERSEDED:
            self._takeovers.lost(connection, result.former)
        elif result.status is Registered.REGISTERED:
            self._takeovers.registered(connection, result)
            if result.parked:
                self._commands.parked(connection)
        elif result.status is Registered.UNPROVED:
            connection.registered(result)

    def recheck(self, connection: SessionConnection) -> None:
        """Another instance says that it holds the device: ask the registry, and close the session if so."""
        done = partial(self.reconciled, connection.session_id, connection.imei)
        self._registrar.confirm(connection.imei, connection.session_id, connection.claimant, done)

    # Shutdown

    def refuse_unidentified(self) -> None:
        """Close unidentified connections and admit none: a gateway that stops must not register a device."""
        self.admission.refusing = True
        for connection in self.all_open():
            if not connection.imei:
                connection.close(SHUTDOWN)

    def drain(self) -> None:
        """The gateway stops: sessions stay open for answers and records, and no command begins."""
        for connection in self.all_open():
            connection.drain(SHUTDOWN)

    def abort_all(self) -> None:
        """Abort the connections that are still closing, whatever is left to be written."""
        for connection in list(self.closing):
            connection.abort()

    def close_all(self, reason: str) -> None:
        """Close every connection; write buffers are still flushed where `DeviceConnection.close` says so."""
        self._takeovers.stop()
        for connection in self.all_open():
            connection.close(reason)
