"""The operator's policy on the texts of commands: rules, read from TOML, and the judgement of one text.

A policy is a list of rules, and the first rule with a pattern that matches the whole text decides. A pattern
is made of words, as a text is:

* ``*`` stands for any characters of one word, ``?`` for one character.
* ``1..30`` stands for a whole number in this range.
* ``...`` as the last word stands for any further words, also none.

Other characters stand for themselves, and case counts. Blanks before a text, which stand for an empty login
and password, are skipped; a text that begins with a login is another text. Between words there may be several
blanks. A pattern is one regular expression in which no part can be matched in two ways (words hold no blank,
and what a ``*`` has skipped is never tried again), so the time to match is bounded by the product of the two
lengths, whatever the text is.

The judgement never repeats the text: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsm.errors import GatewayFault
from fsm.outbound import IMEI

RULES_MOST, PATTERNS_MOST, PATTERN_LENGTH = 1000, 1000, 512
RATE_MOST = 1000
"""Commands of a rate: so many times are remembered for each device."""
DEFAULT = "default"
"""The name of the rule for texts that no other rule matches."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_RATE = re.compile(r"([1-9]\d{0,3})/([smhd])")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CONDITIONS = ("confirm", "two_persons", "rate")
_KEYS = {"name", "allow", "deny", "families", "devices", *_CONDITIONS}


class PolicyFault(GatewayFault):
    """A policy cannot be used.

    ``rule`` is the name or the number of the rule; empty for the whole file, whose name is ``source``.
    """

    def __init__(self, rule: str, problem: str, source: str = "the policy") -> None:
        super().__init__(f"{source}{f', rule {rule}' if rule else ''}: {problem}.")
        self.rule = rule
        self.problem = problem
        self.source = source


@dataclass(slots=True, frozen=True)
class Pattern:
    """A pattern of whole texts."""

    expression: re.Pattern[str]
    ranges: tuple[tuple[int, int], ...]

    def matches(self, text: str) -> bool:
        """Whether the whole text fits; it has no leading blanks."""
        match = self.expression.fullmatch(text)
        if match is None:
            return False
        found = zip(match.groups(), self.ranges, strict=True)
        return all(low <= int(number) <= high for number, (low, high) in found)


@dataclass(slots=True, frozen=True)
class Rule:
    """One rule.

    Attributes:
        patterns: of the texts that it decides about.
        allows: whether it allows or denies them.
        families, devices: it holds for these; without both for every device.
        confirm: the producer has to send ``confirm=1``.
        two_persons: it has to name in ``confirmed_by`` another person than in ``requested_by``.
        rate: commands of one device in so many seconds, at most; None for any number.
    """

    name: str
    patterns: tuple[Pattern, ...]
    allows: bool
    families: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    confirm: bool = False
    two_persons: bool = False
    rate: tuple[int, float] | None = None

    def decides(self, text: str, imei: str, families: tuple[str, ...]) -> bool:
        """Whether it is about this text for this device."""
        limited = bool(self.families or self.devices)
        if limited and imei not in self.devices and self.families.isdisjoint(families):
            return False
        return any(pattern.matches(text) for pattern in self.patterns)


@dataclass(slots=True, frozen=True)
class Policy:
    """Rules in their order, and whether a text is allowed that no rule decides about."""

    rules: tuple[Rule, ...]
    default: Rule

    def rule_for(self, payload: bytes, imei: str, families: tuple[str, ...]) -> Rule:
        """The rule that decides about a text for a device, whose model and family are `families`."""
        text = payload.decode("ascii").lstrip(" ")
        return next((rule for rule in self.rules if rule.decides(text, imei, families)), self.default)


def read_policy(text: str, source: str) -> Policy:
    """The policy that a TOML text holds. Errors call it `source`.

    Raises:
        PolicyFault: it is no TOML, or a rule cannot be understood.
    """
    try:
        return _policy(text)
    except PolicyFault as fault:
        raise PolicyFault(fault.rule, fault.problem, source) from None


def _policy(text: str) -> Policy:
    import tomllib  # most gateways have no policy

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyFault("", f"is no TOML: {error}") from None
    unknown = sorted(set(found) - {"default", "rule"})
    rules = found.get("rule", [])
    if unknown:
        raise PolicyFault("", f"{unknown[0]} is not known; there are default and [[rule]]")
    if not isinstance(rules, list) or len(rules) > RULES_MOST:
        raise PolicyFault("", f"has no list of at most {RULES_MOST} [[rule]]")
    if (default := found.get("default", "deny")) not in ("allow", "deny"):
        raise PolicyFault("", "default is neither allow nor deny")
    read = tuple(_rule(str(number), rule) for number, rule in enumerate(rules, 1))
    names = [rule.name for rule in read]
    for name in names:
        if names.count(name) > 1:
            raise PolicyFault(name, "there are two of this name")
    return Policy(read, Rule(DEFAULT, (), default == "allow"))


def _rule(number: str, given: Any) -> Rule:
    if not isinstance(given, Mapping):
        raise PolicyFault(number, "is not a table")
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == DEFAULT:
        raise PolicyFault(number, "needs a name of 1 to 64 of A-Z a-z 0-9 . _ -, other than default")
    if unknown := sorted(set(given) - _KEYS):
        raise PolicyFault(name, f"{unknown[0]} is not known; there are {', '.join(sorted(_KEYS))}")
    if ("allow" in given) is ("deny" in given):
        raise PolicyFault(name, "needs either allow or deny")
    allows = "allow" in given
    if not allows and not given.keys().isdisjoint(_CONDITIONS):
        raise PolicyFault(name, f"{', '.join(_CONDITIONS)} are for allow")
    devices = _texts(name, given, "devices")
    if wrong := [imei for imei in devices if not IMEI.fullmatch(imei)]:
        raise PolicyFault(name, f"devices: {wrong[0][:32]!r} is not 15 digits")
    patterns = _texts(name, given, "allow" if allows else "deny")
    return Rule(
        name=name,
        patterns=tuple(pattern_of(name, text) for text in patterns),
        allows=allows,
        families=frozenset(_texts(name, given, "families")),
        devices=frozenset(devices),
        confirm=_flag(name, given, "confirm"),
        two_persons=_flag(name, given, "two_persons"),
        rate=_rate(name, given["rate"]) if "rate" in given else None,
    )


def _flag(name: str, given: Mapping[str, Any], key: str) -> bool:
    if not isinstance(found := given.get(key, False), bool):
        raise PolicyFault(name, f"{key} is neither true nor false")
    return found


def _texts(name: str, given: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts; empty if there is none."""
    found = given.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise PolicyFault(name, f"{key} is not a list of texts")
    if (key in given and not found) or (key in ("allow", "deny") and len(found) > PATTERNS_MOST):
        raise PolicyFault(name, f"{key} has not 1 to {PATTERNS_MOST} texts")
    return found


def _rate(name: str, given: object) -> tuple[int, float]:
    match = _RATE.fullmatch(given) if isinstance(given, str) else None
    if match is None or int(match[1]) > RATE_MOST:
        raise PolicyFault(name, f"rate is not like 6/h: 1 to {RATE_MOST} in a s, m, h or d")
    return int(match[1]), _SECONDS[match[2]]


def pattern_of(name: str, text: str) -> Pattern:
    """The pattern that `text` writes.

    Raises:
        PolicyFault: it is none; `name` is the rule.
    """
    words = text.split(" ")
    if not 0 < len(text) <= PATTERN_LENGTH or not text.isascii() or not text.isprintable() or "" in words:
        raise PolicyFault(name, f"{text[:64]!r} is not made of words with one blank between them")
    rest = words[-1] == "..."
    parts, ranges = [], []
    for word in words[: len(words) - rest]:
        if bounds := _RANGE.fullmatch(word):
            ranges.append((int(bounds[1]), int(bounds[2])))
            parts.append(r"(\d{1,9})")
        else:
            parts.append(_word(word))
    expression = " +".join(parts) + ("(?: .*)?" if rest else " *") if parts else ".*"
    return Pattern(re.compile(expression, re.ASCII | re.DOTALL), tuple(ranges))


def _word(word: str) -> str:
    """A regular expression for one word: literal text, ``*`` and ``?``. A ``*`` gives back nothing."""
    first, *others = (re.escape(part).replace(r"\?", "[^ ]") for part in re.split(r"\*+", word))
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^ ]*?{part})" for part in middle) + f"[^ ]*{last}"
