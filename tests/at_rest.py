"""What must hold once faults have ceased for long enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.evidence import Evidence, Violation
from tests.history import History, Produced

PUNCTUALITY = 1000.0
"""Milliseconds by which a verdict may come late: the sweep, and a few calls to Redis."""


class AtRest(Evidence):
    """The rules of a fleet at rest, each a generator of violations."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.rules = (self.verdict_for_all, self.verdict_in_time, self.nothing_left, self.registry_is_true)

    def verdict_for_all(self) -> Iterator[Violation]:
        """I2, for every command with a readable id."""
        kept = self.history.kept
        decided = {name for name, at, _ in self.verdicts if name in kept or not self.lost(at)}
        for command_id in self.asked - decided:
            life = [event["state"] for _, event in self.lives.get(command_id, ())]
            yield Violation("I2", f"{command_id} has no verdict: {life}")

    def verdict_in_time(self) -> Iterator[Violation]:
        """P2: within its time and that of its answer, or once a dead instance is adopted."""
        if self.history.calm_at is None:
            return
        due: dict[str, float] = defaultdict(float)
        for produced in self.history.produced:
            if produced.is_command:
                due[produced.command_id] = max(due[produced.command_id], self._due(produced))
        for command_id, at, event in self.verdicts:
            if at > due.get(command_id, at):
                what = event["reason"] or event["state"]
                yield Violation("P2", f"{command_id} is {what} {at - due[command_id]:.0f} ms late")

    def nothing_left(self) -> Iterator[Violation]:
        """I8."""
        for what, lists in (("stream", self.history.left), ("pending list", self.history.pending)):
            for instance, entries in lists.items():
                if entries:
                    yield Violation("I8", f"the {what} of {instance} still holds {entries}")
        for command_id in self.history.held:
            yield Violation("I8", f"{command_id} is still held")

    def registry_is_true(self) -> Iterator[Violation]:
        """I10."""
        named = {
            imei: (instance, self.history.tokens.get(imei, "").partition(" ")[0])
            for imei, instance in self.history.registry.items()
        }
        for imei in self.history.tokens.keys() - named.keys():
            yield Violation("I10", f"{imei}: a session token stands in no entry of the registry")
        for imei in named.keys() | self.history.live.keys():
            if named.get(imei) != self.history.live.get(imei):
                yield Violation(
                    "I10", f"{imei}: registry {named.get(imei)}, connected {self.history.live.get(imei)}"
                )

    def _due(self, produced: Produced) -> float:
        """When a command must have its verdict, epoch ms."""
        history = self.history
        answer = float(produced.fields.get("response_timeout", history.response_timeout))
        places = {produced.instance}
        for _, event in self.lives.get(produced.command_id, ()):
            places.add(event["instance_id"])
        recovery = history.recovery + (history.adoption if places & history.lost else 0.0)
        ends = produced.expires_at(history.ttl) + answer * 1000
        recovery += history.parked if produced.waits else 0.0
        ends += history.parked * 1000 if produced.waits else 0.0
        return max(ends, (history.calm_at or 0.0) + recovery * 1000) + PUNCTUALITY
