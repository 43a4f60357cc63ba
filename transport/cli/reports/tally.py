"""Commands, notes and closed sessions, counted from the log."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from fsm.command import COMMAND, FAILED, TIMEOUT
from fsm.reasons import CLOSE_REASONS, FENCED, INSTANCE_LOST, NOTES, REASONS, SHUTDOWN
from fsm.session import CLOSED
from fsm.verbs import VERBS
from store.streams.messages import CommandEvent, Message, Note, SessionEvent

from .latency import Latency
from .span import Span

UNKNOWN = "unknown"
"""Stands for a state, reason or note that this version does not know."""
OF_THE_GATEWAY = frozenset({SHUTDOWN, FENCED, INSTANCE_LOST})
"""Reasons of a close that say nothing about the device."""


@dataclass(slots=True)
class DeviceCounts:
    """What the log tells of one device.

    Attributes:
        disconnects: sessions that were closed, without those that its gateway ended by stopping or dying.
        reasons: of failures, timeouts and disconnects.
    """

    ended: int = 0
    failed: int = 0
    timeouts: int = 0
    disconnects: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def trouble(self) -> int:
        """Failures, timeouts and disconnects together."""
        return self.failed + self.timeouts + self.disconnects


Key = tuple[str, str, str]
"""State, reason and delivery."""


class Tally:
    """Counts; nothing of a single command is kept.

    Attributes:
        accepted: commands whose first event is in the span.
        endings: how many commands ended with each state, reason and delivery.
        outcomes, reasons, closes: by state, reason, and reason of the close: how many in each part.
        by_verb, by_gateway: from the write of a command to its answer.
        waits: by gateway: from the acceptance of a command to its write.
        notes: how many of each.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self.accepted = 0
        self.endings: Counter[Key] = Counter()
        self.outcomes: dict[str, list[int]] = defaultdict(span.counts)
        self.reasons: dict[str, list[int]] = defaultdict(span.counts)
        self.closes: dict[str, list[int]] = defaultdict(span.counts)
        self.answers = Latency()
        self.by_verb: dict[str, Latency] = defaultdict(Latency)
        self.by_gateway: dict[str, Latency] = defaultdict(Latency)
        self.waits: dict[str, Latency] = defaultdict(Latency)
        self.devices: dict[str, DeviceCounts] = defaultdict(DeviceCounts)
        self.notes: Counter[str] = Counter()

    def add(self, at_ms: int, message: Message) -> None:
        """Count an entry that was appended at `at_ms`."""
        if isinstance(message, Note):
            self.notes[_known(message.note, NOTES)] += 1
        elif isinstance(message, SessionEvent):
            if message.state == CLOSED:
                self._close(self._span.part(at_ms), message)
        else:
            self._command(self._span.part(at_ms), message)

    def _close(self, part: int, event: SessionEvent) -> None:
        reason = _known(event.reason, CLOSE_REASONS)
        self.closes[reason][part] += 1
        if reason not in OF_THE_GATEWAY:
            device = self.devices[event.imei]
            device.disconnects += 1
            device.reasons[reason] += 1

    def _command(self, part: int, event: CommandEvent) -> None:
        self.accepted += event.seq == 1
        if event.state == "sent" and event.age_ms is not None:
            self.waits[event.instance_id].add(event.age_ms)
        if event.terminal:
            self._end(part, event)

    def _end(self, part: int, event: CommandEvent) -> None:
        state = _known(event.state, COMMAND.terminal)
        reason = _known(event.reason, REASONS) if event.reason else ""
        self.endings[state, reason, event.delivery] += 1
        self.outcomes[state][part] += 1
        if reason:
            self.reasons[reason][part] += 1
        if event.rtt_ms is not None:
            by_verb = self.by_verb[_known(event.verb, VERBS)]
            for times in (self.answers, by_verb, self.by_gateway[event.instance_id]):
                times.add(event.rtt_ms)
        if event.imei:
            self._count(self.devices[event.imei], state, reason)

    def _count(self, device: DeviceCounts, state: str, reason: str) -> None:
        device.ended += 1
        device.failed += state == FAILED
        device.timeouts += state == TIMEOUT
        if state in (FAILED, TIMEOUT):
            device.reasons[reason or state] += 1

    @property
    def ended(self) -> int:
        """Commands that ended."""
        return self.endings.total()

    def of(self, state: str) -> int:
        """Commands that ended in this state."""
        return sum(self.outcomes[state]) if state in self.outcomes else 0

    def worst(self, most: int) -> list[tuple[str, DeviceCounts]]:
        """The devices with the most trouble, the worst first; none without any."""
        troubled = [(imei, counts) for imei, counts in self.devices.items() if counts.trouble]
        return sorted(troubled, key=lambda one: (-one[1].trouble, one[0]))[:most]


def _known(name: str, names: frozenset[str] | tuple[str, ...]) -> str:
    return name if name in names else UNKNOWN
