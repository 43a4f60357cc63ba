"""What the rules of the checker look at: a history, read in several ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from tests.history import Fields, History
from tests.wiretap import Wiretap, Written


@dataclass(frozen=True, order=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


Event = tuple[str, Fields]
"""An entry of the log: its id and its fields."""


def time_of(entry: str) -> float:
    """When an entry was made, epoch ms."""
    return float(entry.partition("-")[0])


class Evidence:
    """A history and its readings."""

    def __init__(self, history: History) -> None:
        self.history = history

    @cached_property
    def texts(self) -> dict[str, str]:
        """Command text -> command_id."""
        return {p.fields["payload"]: p.command_id for p in self.history.produced if "payload" in p.fields}

    @cached_property
    def taps(self) -> list[Wiretap]:
        """Every connection, replayed."""
        grace = self.history.ready_grace
        taps = {name: Wiretap(name, imei, grace) for name, imei in self.history.connections.items()}
        for data in self.history.traffic:
            taps[data.connection].hear(data)
        return list(taps.values())

    @cached_property
    def said(self) -> dict[str, set[str]]:
        """imei -> what its serial port said, or is told to have said."""
        found = defaultdict(set)
        for tap in self.taps:
            found[tap.imei].update(tap.said)
        return found

    @cached_property
    def writes(self) -> dict[str, list[Written]]:
        """command_id -> its writes."""
        found = defaultdict(list)
        for tap in self.taps:
            for written in tap.written:
                found[self.texts.get(written.text, f"? {written.text}")].append(written)
        return found

    @cached_property
    def lives(self) -> dict[str, list[Event]]:
        """command_id -> its events in the order of the log."""
        found = defaultdict(list)
        for entry, fields in self.history.responses:
            if fields["kind"] == "command":
                found[fields["command_id"]].append((entry, fields))
        return found

    @cached_property
    def verdicts(self) -> list[tuple[str, float, Fields]]:
        """The last words: command_id, when (epoch ms), and the event."""
        return [
            (command_id, time_of(entry), event)
            for command_id, events in self.lives.items()
            for entry, event in events
            if event["terminal"] == "1"
        ]

    def sent(self, written: Written) -> Event | None:
        """The `sent` before a write."""
        events = self.lives.get(self.texts.get(written.text, ""), ())
        found = [event for event in events if event[1]["state"] == "sent" and time_of(event[0]) <= written.at]
        return found[-1] if found else None

    @cached_property
    def moves(self) -> dict[str, list[Event]]:
        """command_id -> the notes about its moves, in the order of the log."""
        found = defaultdict(list)
        for entry, fields in self.history.responses:
            if fields.get("note") == "moved":
                found[fields["command_id"]].append((entry, fields))
        return found

    def place(self, sent: Fields, at: float) -> str:
        """The entry that gives a command its place among those of its device, when it was sent at `at`."""
        moves = [fields for entry, fields in self.moves[sent["command_id"]] if time_of(entry) <= at]
        taken_up = bool(moves) and not moves[-1]["instance_id"]
        return moves[-1]["outbound_id"] if taken_up else sent["outbound_id"]

    def sent_at(self, written: Written) -> float:
        """When the `sent` before a write was committed, epoch ms."""
        found = self.sent(written)
        return time_of(found[0]) if found else written.at

    # What Redis has forgotten

    def lost(self, at: float) -> bool:
        """Whether what Redis was told then (epoch ms) is not in it in the end."""
        return any(loss.kept < at < loss.at for loss in self.history.losses)

    @cached_property
    def stretches(self) -> list[tuple[str, bool, list[Fields]]]:
        """The lives of commands as one log tells them: command_id, whether a loss came before, events.

        A log is what a reader finds before a loss, or in the end. Two processes of one name may each go on
        with what Redis has forgotten: of that there is no one life.
        """
        return [
            (command_id, bool(number), events)
            for number in range(len(self.history.losses) + 1)
            for command_id, life in self.lives.items()
            if (events := [event for entry, event in life if self._told(time_of(entry), number)])
            and not (number and self.history.contested & {event["instance_id"] for event in events})
        ]

    def _told(self, at: float, number: int) -> bool:
        """Whether the log that ended with loss `number` holds what was written at `at`."""
        before, ends = self.history.losses[:number], self.history.losses[number : number + 1]
        return all(not loss.kept < at < loss.at for loss in before) and all(at < loss.at for loss in ends)

    @cached_property
    def asked(self) -> set[str]:
        """Commands that must get a verdict: those Redis has kept, and those a process has kept."""
        kept = {p.command_id for p in self.history.produced if p.is_command and not self.lost(p.at)}
        return (kept | self.history.kept) - {""}

    def forgotten(self, command_id: str, since: float, until: float) -> bool:
        """Whether Redis has lost what it knew of a command `since`, and no verdict told it again `until`."""
        told = [at for name, at, _ in self.verdicts if name == command_id and at < until]
        return any(
            loss.kept < since < loss.at <= until and not any(at >= loss.at for at in told)
            for loss in self.history.losses
        )


def process_of(written: Written) -> str:
    """The process that wrote, by the name of its session."""
    return written.connection.rpartition("-")[0]


def each_pair(writes: list[Written]) -> Iterator[tuple[Written, Written]]:
    """Each write with the next one, in the order of time."""
    return pairwise(sorted(writes, key=lambda written: written.at))
