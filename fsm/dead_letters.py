"""What is kept of a command that a gateway gave up because Redis refuses to store it.

Two things are kept. The dead letter is for people and holds no text. The entry, with its text, is kept apart
and for a short time, so that an operator can put it back. It is kept only if nothing was written to the
device and only this fault has ended the command: one that was cancelled, or has expired, has its verdict.

A command that is put back is a new one, because the old one has its verdict. Its id follows from the old id,
so that a command which is put back twice is still one command.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from fsm.command import CommandRequest, Entry
from fsm.entries import Pairs, entry_fields, letter_of
from fsm.events import CommandEvent
from fsm.moves import Discard, Done
from fsm.reasons import INTERNAL_ERROR, NOT_SENT

_OWN_NAMES = ("command_id", "retry_of")


def give_up(request: CommandRequest, entry: Entry, events: Sequence[CommandEvent], done: Done) -> Discard:
    """The move that ends a valid command whose ledger cannot be written.

    Args:
        events: what is published of the command, up to its verdict.
    """
    verdict = events[-1] if events else None
    restorable = verdict is not None and (verdict.reason, verdict.delivery) == (INTERNAL_ERROR, NOT_SENT)
    return Discard(
        entry,
        done,
        error=INTERNAL_ERROR,
        fields=letter_of(request),
        kept=_kept(request) if restorable else (),
        events=tuple(events),
    )


def _kept(request: CommandRequest) -> Pairs:
    """The entry of the command that takes its place; only the id is missing, which is `requeued_id`."""
    fields = ((name, text) for name, text in entry_fields(request) if name not in _OWN_NAMES)
    return (*fields, ("retry_of", request.command_id))


def requeued_id(command_id: str) -> str:
    """The id of the command that takes the place of `command_id`: always the same one."""
    return f"requeue-{sha256(command_id.encode()).hexdigest()[:32]}"
