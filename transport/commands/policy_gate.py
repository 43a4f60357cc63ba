"""Whether a command may be sent: the list of verbs, the policy, the confirmations, the rate of its device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from cachetools import LRUCache

from fsm.command import CommandRequest
from fsm.command_policy import Policy, Rule
from fsm.outbound import verb_allowed

REMEMBERED = 100_000
"""Devices, for each rule with a rate, whose last commands are remembered at most."""


class PolicyGate:
    """Judges commands before they are accepted. What it says names a rule and never repeats a text.

    Rates are those of this process: its memory is bounded, and lost with it.

    Args:
        verbs: first words that are allowed; empty for any.
        policy: None for no rules.
        families_of: the model and the family of a device, by its IMEI.
        monotonic: seconds.
    """

    def __init__(
        self,
        verbs: Collection[str] = (),
        policy: Policy | None = None,
        families_of: Callable[[str], tuple[str, ...]] = lambda _: (),
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._verbs = verbs
        self._policy = policy
        self._families_of = families_of
        self._monotonic = monotonic
        self._sent: LRUCache[tuple[str, str], deque[float]] = LRUCache(REMEMBERED)

    def use(self, policy: Policy) -> None:
        """Take another policy from now on. Rates of rules with the same name go on."""
        self._policy = policy

    def refusal(self, request: CommandRequest) -> str | None:
        """Why the command must not be sent, for the detail of its event; None if it may be."""
        if not verb_allowed(request.payload, self._verbs):
            return ""
        if self._policy is None:
            return None
        rule = self._rule(self._policy, request)
        if not rule.allows:
            return f"rule {rule.name}"
        if rule.confirm and not request.confirmed:
            return f"rule {rule.name}: confirm=1 is missing"
        if rule.two_persons and not request.two_persons:
            return f"rule {rule.name}: requested_by and confirmed_by do not name two persons"
        return None

    def excess(self, request: CommandRequest) -> str | None:
        """As `refusal`, by the rate of the device; a command that may be sent is counted."""
        if self._policy is None:
            return None
        rule = self._rule(self._policy, request)
        if rule.rate is None:
            return None
        count, seconds = rule.rate
        now, key = self._monotonic(), (rule.name, request.imei)
        sent = self._sent.setdefault(key, deque())
        while sent and now - sent[0] >= seconds:
            sent.popleft()
        if len(sent) >= count:
            return f"rule {rule.name}: more than {count} in {seconds:g} s"
        sent.append(now)
        return None

    def _rule(self, policy: Policy, request: CommandRequest) -> Rule:
        return policy.rule_for(request.payload, request.imei, self._families_of(request.imei))
