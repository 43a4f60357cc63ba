"""Rounds of fuzzing: mutants of a pool, which grows by every input that shows something new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.coverage import Lines
from tests.fuzz.mutations import Mutation

POOL_MOST = 3000
"""Inputs that a round keeps."""
KEPT_BYTES = 8192
MINIMISING = 20.0
"""Seconds that are spent on making a failing input small."""

Check = Callable[[bytes], set[str]]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: the folder of its corpus.
        check: takes an input, returns what it met, and lets an error escape when something is wrong.
        mutate: makes an input of another one.
        seeds: inputs to begin with besides the corpus.
        meets: what a round in the normal suite has to meet, or it would prove nothing.
        runs: mutants in the normal suite.
    """

    name: str
    check: Check
    mutate: Mutation
    seeds: Callable[[], list[bytes]]
    meets: frozenset[str]
    runs: int


@dataclass
class Round:
    """What the mutants of a round met, and those of them that showed something new."""

    target: Target
    seed: int
    pool: list[bytes]
    met: set[str] = field(default_factory=set)
    found: list[bytes] = field(default_factory=list)
    runs: int = 0

    def explore(self, *, runs: int = 0, seconds: float = 0.0) -> Round:
        """Try every input of the pool, then mutants: `runs` of them, or as many as `seconds` allow.

        A round of so many runs is the same with every Python: it is not guided by lines.
        """
        random, ends = Random(self.seed), time.monotonic() + seconds
        with Lines(wanted=seconds > 0) as lines:
            seen: set[frozenset[str]] = set()
            for data in list(self.pool):
                seen.add(self._try(data))
            lines.news()
            self.met.clear()
            while self.runs < runs or time.monotonic() < ends:
                data = self.target.mutate(random, random.choice(self.pool), self.pool)
                met = self._try(data)
                self.runs += 1
                news = lines.news()
                if (met not in seen or news) and len(data) <= KEPT_BYTES:
                    seen.add(met)
                    self._keep(random, data)
        return self

    def _try(self, data: bytes) -> frozenset[str]:
        try:
            met = self.target.check(data)
        except BaseException as error:  # a test that takes too long is ended by none of the usual errors
            error.add_note(self._told(data, error))
            raise
        self.met |= met
        return frozenset(met)

    def _keep(self, random: Random, data: bytes) -> None:
        self.found.append(data)
        if len(self.pool) < POOL_MOST:
            self.pool.append(data)
        else:
            self.pool[random.randrange(POOL_MOST)] = data

    def _told(self, data: bytes, error: BaseException) -> str:
        failed = isinstance(error, Exception)
        small = minimised(self.target.check, data, error) if failed else data
        name, told = self.target.name, f"{len(data)} bytes, made smaller" if failed else "stopped at"
        return (
            f"target {name}, TELGW_FUZZ_SEED={self.seed}, run {self.runs}, {told}:\n"
            f"{small.hex()}\n"
            f"{small[:500]!r}\n"
            f"Keep it as tests/fuzz/corpus/{name}/<what it is>.hex: it is tried in every run from then on."
        )


def minimised(check: Check, data: bytes, error: BaseException, seconds: float = MINIMISING) -> bytes:
    """A smaller input that fails as `data` does: the same error from the same line."""
    wanted, ends = _place(error), time.monotonic() + seconds

    def fails(smaller: bytes) -> bool:
        try:
            check(smaller)
        except Exception as found:
            return _place(found) == wanted
        return False

    size = max(1, len(data) // 2)
    while size and time.monotonic() < ends:
        shorter = next((less for less in _without(data, size) if fails(less)), None)
        if shorter is None:
            size //= 2
        else:
            data, size = shorter, min(size, max(1, len(shorter) // 2))
    for at in range(len(data)):
        plain = data[:at] + b"\0" + data[at + 1 :]
        if data[at] and time.monotonic() < ends and fails(plain):
            data = plain
    return data


def _without(data: bytes, size: int) -> Iterable[bytes]:
    return (data[:at] + data[at + size :] for at in range(0, len(data), size))


def _place(error: BaseException) -> tuple[type, str, int]:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return type(error), trace.tb_frame.f_code.co_filename if trace else "", trace.tb_lineno if trace else 0
