"""Take-overs as this process sees them: which sessions get no command, and which older one is asked first.

The rule is in `fsm.takeover`. Here it is applied to connections: a session is *held* from its identification
until the registry has told who else has claimed the device, and then for the time of the hold. A hold ends
early if the older session turns out to be dead. To find out, its connection stays open unread after it was
superseded, while its peer is asked (`transport.connection.liveness`). With the policy ``alive`` the older
session is asked before anything happens to it.

An older session at another gateway is asked there. If it is dead, that gateway settles the claims in the
registry and tells this one, which looks there again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from fsm.deadlines import Deadlines
from fsm.device_status import HoldStatus
from fsm.reasons import SUPERSEDED, TAKEOVER, TAKEOVER_DISPUTED, TAKEOVER_REFUSED
from fsm.registration import RegisterResult
from fsm.takeover import Claim, Claimant, Hold, hold_of
from transport.clock import Clock
from transport.connection.liveness import Liveness, Probe
from transport.connection.ports import SessionConnection
from transport.connection.repeated_takeovers import RepeatedTakeovers
from transport.connection.status_board import StatusBoard
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.ports import CommandsPort, RegistrarPort
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

NEWCOMER_WAITS = 3.0
"""Seconds that a newcomer waits for the answer of the older session; devices wait longer for their ``01``."""
HOLD_WAITS = 10.0
"""Seconds without an answer after which a superseded session counts as dead. A mobile network can be silent
for seconds, and until then commands are only late."""
QUESTIONS = 2000
"""Sessions that are asked at a time; for more the hold lasts."""

Heard = Callable[[Liveness], None]


@dataclass(slots=True, eq=False)
class _Takeover:
    """What is known of the take-over by a session.

    Attributes:
        at: when it was identified, monotonic seconds, because the time of Redis may not be known yet.
        former: the peer of the older session here, and ``peer`` with its port; None for none.
        answer: what the older session has said.
        hold: the hold that was announced last.
    """

    at: float
    former: Claimant | None = None
    peer: str = ""
    asked: bool = False
    answer: Liveness | None = None
    hold: Hold | None = None


class Takeovers:
    """Holds sessions back, and asks older ones; see the module."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        commands: CommandsPort,
        registrar: RegistrarPort,
        status: StatusBoard,
    ) -> None:
        self._policy = settings.takeover_policy
        self._hold_ms = round(settings.takeover_hold * 1000)
        self._clock = clock
        self._metrics = metrics
        self._commands = commands
        self._registrar = registrar
        self._status = status
        self._takeovers: dict[SessionConnection, _Takeover] = {}
        self._ends: Deadlines[SessionConnection] = Deadlines()
        self._questions: dict[SessionConnection, tuple[Probe, list[Heard]]] = {}
        self._told = LogThrottle()
        self._repeated = RepeatedTakeovers()

    # An older session

    def contested(self, newcomer: SessionConnection, older: SessionConnection | None) -> bool:
        """Whether `older` has to be asked before `newcomer` may take its place."""
        if self._policy != "alive" or older is None or older.closed:
            return False
        return not newcomer.claimant.follows(older.claimant)

    def ask(self, older: SessionConnection, heard: Heard, patience: float = NEWCOMER_WAITS) -> bool:
        """Ask whether the peer of `older` is there; False if it cannot be asked. `heard` is called later."""
        if older not in self._questions:
            full = len(self._questions) >= QUESTIONS
            probe = None if full else older.probe(self._clock.monotonic(), patience)
            if probe is None:
                return False
            self._questions[older] = probe, []
        self._questions[older][1].append(heard)
        return True

    def superseded(self, older: SessionConnection | None, newer: SessionConnection) -> None:
        """`newer` takes the place of `older`, if there was one here, and is held until it is registered."""
        newer.held = True
        if older is None:
            return
        takeover = _Takeover(self._clock.monotonic(), older.claimant, older.peer)
        self._takeovers[newer] = takeover
        if self._policy != "newest" and not newer.claimant.follows(older.claimant):
            takeover.asked = self.ask(older, partial(self._heard, older, newer), HOLD_WAITS)
        older.close(SUPERSEDED, linger=takeover.asked)

    def _heard(self, older: SessionConnection, newer: SessionConnection, answer: Liveness) -> None:
        older.abort()
        takeover = self._takeovers.get(newer)
        if takeover is None:
            return
        takeover.answer = answer
        if takeover.hold is not None:
            self._log_answer(newer, takeover, answer)
            self._weigh(newer, takeover, takeover.hold)

    def _log_answer(self, newer: SessionConnection, takeover: _Takeover, answer: Liveness) -> None:
        if not self._told.allow((answer, newer.imei), self._clock.monotonic()):
            return
        peers = {"imei": newer.imei, "peer": newer.peer, "before": takeover.peer}
        if answer is Liveness.ALIVE:
            log.warning("takeover_contested", **peers, meaning="the older connection still answers")
        else:
            log.info("takeover_settled", **peers, meaning="the older connection does not answer")

    def lost(self, connection: SessionConnection, winner: Claimant | None) -> None:
        """Another gateway has the device, for `winner`; if our peer is dead, that gateway is told."""
        asks = False
        if winner is not None and self._policy != "newest" and not winner.follows(connection.claimant):
            asks = self.ask(connection, partial(self._vouch, connection), HOLD_WAITS)
        connection.close(SUPERSEDED, linger=asks)

    def _vouch(self, connection: SessionConnection, answer: Liveness) -> None:
        connection.abort()
        if answer is Liveness.DEAD:
            self._registrar.vouch(connection.imei, connection.session_id, connection.claimant)

    def refused(self, newcomer: SessionConnection, imei: str, older: SessionConnection) -> None:
        """`older` is alive, so `newcomer` does not get its place."""
        self._metrics.takeovers.labels("refused").inc()
        if self.tell_of_refusal(newcomer, imei, str(older.claimant)):
            log.warning("takeover_refused", imei=imei, peer=newcomer.peer, held_by=older.peer)

    def tell_of_refusal(self, newcomer: SessionConnection, imei: str, holder: str) -> bool:
        """Publish that `newcomer` was refused because of `holder`; False if that was published just now."""
        tells = self._told.allow((TAKEOVER_REFUSED, imei), self._clock.monotonic())
        if tells:
            self._commands.tell(TAKEOVER_REFUSED, imei, newcomer, holder)
        return tells

    # A newer session

    def registered(self, connection: SessionConnection, result: RegisterResult) -> None:
        """The registry has answered, or could not be asked: what follows for the commands of `connection`."""
        if connection.closed:
            return
        takeover = self._takeovers.get(connection) or _Takeover(self._clock.monotonic())
        if takeover.hold is not None and takeover.former is not None and not result.claims:
            return  # nothing but what this process knew before
        former = takeover.former or result.former
        claims = result.claims or self._claims_here(connection, takeover)
        hold = None if self._policy == "newest" else hold_of(claims, self._hold_ms)
        if former is not None and takeover.hold is None:
            same = connection.claimant.follows(former)
            kind = "same" if same else "disputed" if hold and hold.disputed else "changed"
            self._metrics.takeovers.labels(kind).inc()
            if same:
                self._repeated.note(connection, self._clock.monotonic())
        if hold is None or self._clock.now_ms() >= hold.until:
            self._takeovers.pop(connection, None)
            self._release(connection)
        else:
            self._takeovers[connection] = takeover
            if hold != takeover.hold:
                before = former or claims[1].claimant
                self._announce(connection, takeover, hold, before, result.holder)
                connection.hold = HoldStatus.of(hold, before, result.holder)
            self._weigh(connection, takeover, hold)

    def _claims_here(self, connection: SessionConnection, takeover: _Takeover) -> tuple[Claim, ...]:
        """What this process knows without the registry."""
        if takeover.former is None:
            return ()
        age_ms = round((self._clock.monotonic() - takeover.at) * 1000)
        return Claim(self._clock.now_ms() - age_ms, connection.claimant), Claim(0, takeover.former)

    def _weigh(self, connection: SessionConnection, takeover: _Takeover, hold: Hold) -> None:
        """Hold `connection`, unless the older session is dead and nobody else claims the device."""
        takeover.hold = hold
        if takeover.answer is Liveness.DEAD and not hold.disputed:
            self._registrar.settle(connection.imei, connection.session_id)
            self._release(connection)
            return
        connection.held, connection.disputed = True, hold.disputed
        self._status.changed(connection)
        self._ends.set(connection, self._clock.at(hold.until))
        if hold.disputed:
            self._commands.quiet(connection)

    def _release(self, connection: SessionConnection) -> None:
        """Commands may be written to `connection`."""
        self._ends.cancel(connection)
        connection.held = connection.disputed = False
        if connection.hold is not None:
            connection.hold = None
            self._status.changed(connection)
        self._commands.quiet(connection)

    def _announce(
        self,
        connection: SessionConnection,
        takeover: _Takeover,
        hold: Hold,
        former: Claimant,
        instance_id: str,
    ) -> None:
        """Say that the device has changed hands, on the log of Redis and on that of the process.

        It is no warning yet while the older session is asked.
        """
        note = TAKEOVER_DISPUTED if hold.disputed else TAKEOVER
        self._metrics.disputes.inc(hold.disputed)
        if not self._told.allow((note, connection.imei), self._clock.monotonic()):
            return
        self._commands.tell(note, connection.imei, connection, f"{former} {instance_id}".rstrip())
        undecided = takeover.asked and takeover.answer is not Liveness.ALIVE and not hold.disputed
        (log.info if undecided else log.warning)(
            note,
            imei=connection.imei,
            peer=connection.peer,
            auth=connection.claimant.auth,
            before=takeover.peer or former.host,
            before_auth=former.auth,
            before_instance=instance_id,
            held_for=round((hold.until - self._clock.now_ms()) / 1000),
            changes=hold.changes,
        )

    # Time, and the end of connections

    @property
    def held(self) -> list[SessionConnection]:
        """The sessions that are held because of a take-over."""
        return [connection for connection, takeover in self._takeovers.items() if connection.held]

    def sweep(self, now: float) -> None:
        """Hear what has been answered by `now` (monotonic seconds), and end the holds whose time is over."""
        for older, (probe, _) in list(self._questions.items()):
            answer = probe.answer(now)
            if answer is not None:
                self._answered(older, answer)
        for connection in self._ends.due(now):
            self._release(connection)

    def _answered(self, older: SessionConnection, answer: Liveness) -> None:
        probe, receivers = self._questions.pop(older)
        probe.end()
        for heard in receivers:
            heard(answer)

    def ended(self, connection: SessionConnection) -> None:
        """The session of `connection` is over."""
        self._takeovers.pop(connection, None)
        self._ends.cancel(connection)

    def socket_closed(self, connection: SessionConnection) -> None:
        """The socket of `connection` is closed: it cannot be asked any more."""
        if connection in self._questions:
            self._answered(connection, Liveness.DEAD)

    def stop(self) -> None:
        """Ask no more: the gateway stops."""
        for older in list(self._questions):
            if older.closed:
                older.abort()
