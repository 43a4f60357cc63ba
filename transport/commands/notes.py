"""Notes: remarks about commands that change no state, as moves that publish them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from fsm.command import Answer
from fsm.events import CommandEvent, Note
from fsm.moves import Entry, Remark
from fsm.reasons import CANCEL_REJECTED, LATE_OUTCOME, LATE_RESPONSE, UNSOLICITED_RESPONSE
from transport.commands.in_flight_command import InFlightCommand, ignore
from transport.metrics import Metrics
from transport.ports import Link

UNSOLICITED_LIMIT = 30
"""Unsolicited messages of one device that are published within a minute; the rest are only counted."""
MINUTE = 60.0
TALKERS = 10_000
"""Devices of which unsolicited messages are published within a minute; of others they are only counted."""
UNSOLICITED_BYTES = 1024
"""Bytes of such a message that are published; the stream of messages has all of it."""
BACKLOG = 1000
"""Moves queued for the ledger above which unsolicited messages are only counted, to bound memory."""


class Notes:
    """Writes the notes of one process."""

    def __init__(
        self,
        metrics: Metrics,
        instance_id: str,
        boot_id: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._instance_id = instance_id
        self._boot_id = boot_id
        self._serial = count(1)
        self._monotonic = monotonic
        self._told: dict[str, deque[float]] = {}  # by imei: when its last messages were published
        self._forget_at = 0.0

    def new_id(self) -> str:
        """A note id, unique over all processes."""
        return f"{self._boot_id}:n{next(self._serial)}"

    def about(self, note: str, in_flight: InFlightCommand, **facts: Any) -> Note:
        """A note about `in_flight`, not yet published."""
        request = in_flight.request
        return Note(
            note=note,
            note_id=self.new_id(),
            command_id=request.command_id,
            imei=request.imei,
            codec=in_flight.command.codec,
            instance_id=request.instance_id,
            session_id=in_flight.command.session_id,
            outbound_id=request.outbound_id,
            state=in_flight.command.state,
            echo=request.echo,
            **facts,
        )

    def late_response(self, in_flight: InFlightCommand, answer: Answer, rtt_ms: int) -> Remark:
        """The device answered a command that already has its verdict."""
        return self._remark(
            self.about(
                LATE_RESPONSE,
                in_flight,
                rtt_ms=rtt_ms,
                response=answer.text,
                response_hex=answer.hex,
                truncated=answer.truncated,
                attribution=answer.attribution,
            )
        )

    def late_outcome(self, in_flight: InFlightCommand, event: CommandEvent) -> Remark:
        """We know an outcome of a command that somebody else has decided."""
        return self._remark(
            self.about(
                LATE_OUTCOME,
                in_flight,
                detail=event.reason or event.state,
                rtt_ms=event.rtt_ms,
                response=event.response,
                response_hex=event.response_hex,
                truncated=event.truncated,
                attribution=event.attribution,
            )
        )

    def sweep(self, now: float) -> None:
        """Forget the devices that have told nothing for a minute."""
        if now >= self._forget_at:
            self._forget_at = now + MINUTE
            quiet = [imei for imei, told in self._told.items() if now - told[-1] >= MINUTE]
            for imei in quiet:
                del self._told[imei]

    def _may_tell(self, imei: str) -> bool:
        """Whether one more note about the device is worth a place in the log."""
        if imei not in self._told and len(self._told) >= TALKERS:
            return False
        now = self._monotonic()
        told = self._told.setdefault(imei, deque(maxlen=UNSOLICITED_LIMIT))
        if len(told) == UNSOLICITED_LIMIT and now - told[0] < MINUTE:
            return False
        told.append(now)
        return True

    def unsolicited(self, link: Link, answer: Answer, depth: int) -> Remark | None:
        """The device sent a message that answers nothing; None if it is only counted.

        Args:
            depth: how many moves the ledger has not carried out.
        """
        if depth > BACKLOG or not self._may_tell(link.imei):
            self._metrics.notes_suppressed.labels(UNSOLICITED_RESPONSE).inc()
            return None
        return self._remark(
            Note(
                note=UNSOLICITED_RESPONSE,
                note_id=self.new_id(),
                imei=link.imei,
                codec=answer.codec,
                instance_id=self._instance_id,
                session_id=link.session_id,
                response=None if answer.text is None else answer.text[:UNSOLICITED_BYTES],
                response_hex=None if answer.hex is None else answer.hex[: 2 * UNSOLICITED_BYTES],
                truncated=answer.truncated or _length(answer) > UNSOLICITED_BYTES,
            )
        )

    def takeover(self, note: str, imei: str, link: Link, detail: str) -> Remark:
        """A peer says to be a device that another session holds, or held until now."""
        origin = link.origin
        return self._remark(
            Note(
                note=note,
                note_id=self.new_id(),
                detail=detail,
                imei=imei,
                instance_id=self._instance_id,
                session_id=link.session_id,
                peer=origin.peer,
                auth=origin.auth,
            )
        )

    def cancel_rejected(self, command_id: str, entry: Entry, detail: str) -> Remark:
        """A cancel changes nothing: its command is `unknown`, `sent` or `terminal`. Answers its entry."""
        note = Note(
            note=CANCEL_REJECTED,
            note_id=self.new_id(),
            command_id=command_id,
            detail=detail,
            instance_id=entry.instance_id,
            outbound_id=entry.outbound_id,
        )
        return self._remark(note, remove=entry)

    def _remark(self, note: Note, remove: Entry | None = None) -> Remark:
        self._metrics.notes.labels(note.note).inc()
        return Remark(note, ignore, remove=remove)


def _length(answer: Answer) -> int:
    """The bytes of an answer."""
    return len(answer.text or "") + len(answer.hex or "") // 2
