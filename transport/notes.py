"""Published remarks about commands that change no state."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

from fsm.command import Answer
from fsm.events import CommandEvent, Note
from fsm.moves import Entry, MoveResult, Remark
from fsm.reasons import CANCEL_REJECTED, LATE_OUTCOME, LATE_RESPONSE, UNSOLICITED_RESPONSE
from transport.flight import Flight
from transport.metrics import Metrics
from transport.ports import LedgerPort, Link

UNSOLICITED_LIMIT = 30
"""Unsolicited answers of one device that are published a minute; the rest are counted."""
BACKLOG = 1000
"""Moves queued for the ledger above which unsolicited answers are only counted, lest a device fill memory."""


def ignore(result: MoveResult) -> None:
    """Nothing depends on the outcome of the move."""


class Notes:
    """Publishes notes for one process."""

    def __init__(self, ledger: LedgerPort, metrics: Metrics, instance_id: str, boot_id: str) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._instance_id = instance_id
        self._boot_id = boot_id
        self._serial = count(1)
        self._unsolicited: Counter[str] = Counter()
        self._forget_at = 0.0

    def new_id(self) -> str:
        """A note id, unique over all processes."""
        return f"{self._boot_id}:n{next(self._serial)}"

    def about(self, note: str, flight: Flight, **facts: Any) -> Note:
        """A note about `flight`, not yet published."""
        request = flight.request
        return Note(
            note=note,
            note_id=self.new_id(),
            command_id=request.command_id,
            imei=request.imei,
            codec=request.codec,
            instance_id=request.instance_id,
            session_id=flight.command.session_id,
            outbound_id=request.outbound_id,
            state=flight.command.state,
            echo=request.echo,
            **facts,
        )

    def late_response(self, flight: Flight, answer: Answer, rtt_ms: int) -> None:
        """The device answered a command that already has its verdict."""
        self._publish(
            self.about(
                LATE_RESPONSE,
                flight,
                rtt_ms=rtt_ms,
                response=answer.text,
                response_hex=answer.hex,
                truncated=answer.truncated,
            )
        )

    def late_outcome(self, flight: Flight, event: CommandEvent) -> None:
        """We know an outcome of a command that somebody else has decided."""
        self._publish(
            self.about(
                LATE_OUTCOME,
                flight,
                detail=event.reason or event.state,
                rtt_ms=event.rtt_ms,
                response=event.response,
                response_hex=event.response_hex,
                truncated=event.truncated,
            )
        )

    def sweep(self, now: float) -> None:
        """A new minute begins for the devices that talk unasked."""
        if now >= self._forget_at:
            self._forget_at = now + 60.0
            self._unsolicited.clear()

    def unsolicited(self, link: Link, answer: Answer) -> None:
        """The device sent an answer that nothing asked for."""
        self._unsolicited[link.imei] += 1
        if self._unsolicited[link.imei] > UNSOLICITED_LIMIT or self._ledger.depth > BACKLOG:
            self._metrics.notes.labels(UNSOLICITED_RESPONSE).inc()
            return
        self._publish(
            Note(
                note=UNSOLICITED_RESPONSE,
                note_id=self.new_id(),
                imei=link.imei,
                codec=answer.codec,
                instance_id=self._instance_id,
                session_id=link.session_id,
                response=answer.text,
                response_hex=answer.hex,
                truncated=answer.truncated,
            )
        )

    def cancel_rejected(self, command_id: str, entry: Entry, detail: str) -> None:
        """A cancel changes nothing: its command is `unknown`, `sent` or `terminal`. Answers its entry."""
        note = Note(
            note=CANCEL_REJECTED,
            note_id=self.new_id(),
            command_id=command_id,
            detail=detail,
            instance_id=entry.instance_id,
            outbound_id=entry.outbound_id,
        )
        self._publish(note, remove=entry)

    def _publish(self, note: Note, remove: Entry | None = None) -> None:
        self._metrics.notes.labels(note.note).inc()
        self._ledger.submit(Remark(note, ignore, remove=remove))
