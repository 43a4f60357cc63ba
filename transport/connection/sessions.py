"""The sessions of one process: which connections there are, and what they share.

Owns every connection from its admission until its socket is closed, in three sets: unidentified, by IMEI, and
closing. Owns their deadlines, and the limits they share (`Admission`, `Backpressure`). A connection tells it
what has happened (`identified`, `left`, `discharge`), and it tells the registry and the command side.

Invariants: a device has one session here; a newer one closes the older one `superseded`. A session that was
identified is unregistered when it ends, unless a newer session of the device has replaced it. Lines that
peers can cause are throttled.
"""

from __future__ import annotations

from typing import cast

import structlog

from fsm.deadlines import Deadlines
from fsm.events import SessionEvent
from fsm.reasons import IDLE, SHUTDOWN, STORE_UNAVAILABLE, SUPERSEDED
from fsm.registration import SECURE, Registered, RegisterResult
from fsm.telemetry import PendingFrame
from transport.clock import Clock
from transport.connection.address_changes import AddressChangeMonitor
from transport.connection.admission import Admission
from transport.connection.allow_list import AccessControl, AllowListPort
from transport.connection.backpressure import READ_SIZE, Backpressure
from transport.connection.ports import SessionConnection
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.ports import CommandsPort, RegistrarPort, SessionLogPort, TelemetryPort
from transport.settings import Settings
from transport.teltonika.stream import StreamSettings

log = structlog.get_logger("telgw.sessions")

DUE_AT_ONCE = 50
"""Connections whose deadlines are handled in one turn of the loop, since thousands may be due at once."""
STORE_PATIENCE = 60.0
"""Seconds that a device waits for an acknowledgement before its connection is closed."""


class Sessions:
    """The connections, the limits they share, and the ports to the rest of the gateway.

    Attributes:
        now: the monotonic second of the last sweep, or of the end of a stall: fine enough for idle times, and
            cheap to read.
        by_imei: identified connections.
        unidentified: connections that have not sent an IMEI.
        closing: connections that were closed here and whose sockets are not closed yet.
        admission: limits the number of connections; listeners ask it.
        flow: which connections are read.
        read_buffer: the buffer of every read; its content is copied in the same turn of the loop.
        frames, records: AVL frames and records acknowledged since the start.
    """

    def __init__(
        self,
        settings: Settings,
        boot_id: str,
        clock: Clock,
        metrics: Metrics,
        dispatcher: CommandsPort,
        telemetry: TelemetryPort,
        registrar: RegistrarPort,
        session_log: SessionLogPort | None,
        allow_list: AllowListPort | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.dispatcher = dispatcher
        self.telemetry = telemetry
        self.backlog = telemetry.backlog
        self.gate = AccessControl(allow_list, metrics)
        self.address_changes = AddressChangeMonitor(metrics)
        self.instance_id = settings.instance_id
        self.now = clock.monotonic()
        self.deadlines: Deadlines[SessionConnection] = Deadlines()
        # The command side uses the same table: each connection of a device is its link.
        self.by_imei = cast("dict[str, SessionConnection]", dispatcher.links)
        self.unidentified: set[SessionConnection] = set()
        self.closing: set[SessionConnection] = set()
        self.admission = Admission(settings, metrics)
        self.flow = Backpressure(self.backlog, lambda: (*self.unidentified, *self.by_imei.values()))
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.stream_settings = StreamSettings(
            settings.handshake_timeout, settings.ready_grace, settings.max_frame, settings.payload != "raw"
        )
        self.frames = 0
        self.records = 0
        self._boot_id = boot_id
        self._registrar = registrar
        self._session_log = session_log
        self._serial = 0
        self._look_at = 0.0
        self._refusals = LogThrottle()
        self._too_long = LogThrottle()
        self._plain_refused = LogThrottle()

    def new_session_id(self, secure: bool) -> str:
        """A session id, unique over all processes, that says whether the session has TLS.

        Its number tells the registry which of two sessions of this process is older.
        """
        self._serial += 1
        return f"{self._boot_id}-{self._serial:x}{SECURE if secure else ''}"

    # Admission

    @property
    def connected(self) -> int:
        """Open sockets, including superseded sessions and TLS handshakes in progress."""
        return self.admission.connected

    def admit(self, connection: SessionConnection, host: str) -> bool:
        """Admit a new connection, unless a limit is reached."""
        if not self.admission.enter(host, self.now):
            return False
        self.unidentified.add(connection)
        return True

    def admit_counted(self, connection: SessionConnection) -> bool:
        """Admit a connection that was counted at its accept, unless the gateway stops."""
        if not self.admission.refusing:
            self.unidentified.add(connection)
        return not self.admission.refusing

    def discharge(self, connection: SessionConnection) -> None:
        """The connection's socket is closed."""
        self.unidentified.discard(connection)
        self.closing.discard(connection)
        self.flow.forget(connection)
        self.deadlines.cancel(connection)
        self.admission.leave(connection.place)

    def no_device(self, connection: SessionConnection, reason: str) -> None:
        """The handshake of a peer failed: logged once a minute for each address and reason."""
        if self._refusals.allow((connection.host, reason), self.now):
            log.info("handshake_refused", peer=connection.peer, reason=reason)

    def too_long(self, connection: SessionConnection, length: int) -> None:
        """A frame declares `length` bytes, more than allowed; its device will repeat it for ever."""
        self.metrics.frames_too_long.inc()
        if self._too_long.allow(connection.imei, self.now):
            log.warning(
                "frame_too_long",
                imei=connection.imei,
                peer=connection.peer,
                length=length,
                limit=self.settings.max_frame,
                advice="raise --max-frame if the device sends such frames of records",
            )

    def secure_peer(self, imei: str) -> str:
        """The address of the session with TLS that holds the device here; empty when there is none."""
        holder = self.by_imei.get(imei)
        return holder.peer if holder is not None and holder.secure else ""

    def plain_refused(self, imei: str, peer: str, holder: str) -> None:
        """A connection without TLS named a device that is connected with TLS: one of them is not the device.

        `holder` is the address of the session with TLS, or the instance that has it.
        """
        self.metrics.plain_refused.inc()
        if self._plain_refused.allow(imei, self.now):
            log.warning(
                "plain_refused",
                imei=imei,
                peer=peer,
                held_by=holder,
                meaning="the device is connected with TLS, so a connection without it is not let in",
            )

    # Sessions

    def identified(self, connection: SessionConnection) -> None:
        """A device was identified: the connection replaces its older session, here and in the registry."""
        self.unidentified.discard(connection)
        self.admission.release(connection.host)
        self.address_changes.note(connection.imei, connection.host, self.now)
        older = self.by_imei.get(connection.imei)
        self.by_imei[connection.imei] = connection
        if older is not None:
            older.close(SUPERSEDED)
        self._registrar.register(connection.imei, connection.session_id, connection.registered)
        self.dispatcher.arrived(connection)

    def left(self, connection: SessionConnection, reason: str) -> None:
        """The session is over."""
        if self.by_imei.get(connection.imei) is connection:
            self._registrar.unregister(connection.imei, connection.session_id)
        self.dispatcher.left(connection, reason)

    def publish(self, event: SessionEvent) -> None:
        """Publish an event of a session."""
        if self._session_log is not None:
            self._session_log.append(event)
        if event.trigger == "identify":
            log.info("session_opened", imei=event.imei, session_id=event.session_id, peer=event.peer)

    def reconciled(self, session_id: str, imei: str, result: RegisterResult) -> None:
        """The result of registering a session again."""
        connection = self.by_imei.get(imei)
        if connection is None or connection.session_id != session_id:
            return
        connection.speaks = connection.speaks or result.speaks
        if result.status is Registered.SUPERSEDED:
            connection.close(SUPERSEDED)

    def refused(self, frame: PendingFrame) -> None:
        """Redis refuses this frame for good: close the connection if its device waits for it."""
        if not frame.owed:
            self._lost(frame)
            return
        connection = self.by_imei.get(frame.imei.decode("ascii"))
        log.error("frame_refused", imei=frame.imei.decode("ascii"))
        if connection is not None and connection.awaits(frame):
            connection.close(STORE_UNAVAILABLE)

    def _lost(self, frame: PendingFrame) -> None:
        """No device sends the frame again, so it is lost: counted, and logged once a minute for each kind."""
        self.metrics.messages_lost.inc(len(frame.bodies))
        if self._refusals.allow(("lost", frame.kind), self.now):
            log.error("messages_refused", imei=frame.imei.decode("ascii"), kind=frame.kind)
        frame.done()

    # Flow

    def pause_reading(self) -> None:
        """Read no connection any more: what is read from now on would not be acknowledged."""
        self.flow.stop()

    def progress(self) -> None:
        """Telemetry was stored."""
        self.flow.progress()

    # Time

    def sweep(self, now: float) -> bool:
        """Handle what is due by `now`, monotonic seconds; whether more has to wait for the next turn."""
        self.now = now
        due = self.deadlines.due(now, at_most=DUE_AT_ONCE)
        for connection in due:
            connection.overdue()
        self.progress()
        if now >= self._look_at:
            self._look_at = now + 1.0
            self.admission.log_refused(now)
            self._look(now)
        return len(due) == DUE_AT_ONCE

    def _look(self, now: float) -> None:
        """Once a second, check each session for what has no deadline of its own."""
        idle = self.settings.idle_timeout
        if not idle and self.telemetry.healthy:
            return
        for connection in list(self.by_imei.values()):
            if connection.unacked_since and now - connection.unacked_since >= STORE_PATIENCE:
                connection.close(STORE_UNAVAILABLE)
            elif idle and now - connection.last_read >= idle and not self.flow.holds(connection):
                connection.close(IDLE)

    # Shutdown

    def refuse_unidentified(self) -> None:
        """Close unidentified connections and admit none: a gateway that stops must not register a device."""
        self.admission.refusing = True
        for connection in (*self.unidentified, *self.by_imei.values()):
            if not connection.imei:
                connection.close(SHUTDOWN)

    def drain(self) -> None:
        """The gateway stops: sessions stay open for answers and records, and no command begins."""
        for connection in (*self.unidentified, *self.by_imei.values()):
            connection.drain(SHUTDOWN)

    def abort_all(self) -> None:
        """Abort the connections that are still closing, whatever is left to be written."""
        for connection in list(self.closing):
            connection.abort()

    def close_all(self, reason: str) -> None:
        """Close every connection; write buffers are still flushed where `DeviceConnection.close` says so."""
        for connection in (*self.unidentified, *self.by_imei.values()):
            connection.close(reason)
