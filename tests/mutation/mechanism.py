"""What a mechanism is: a piece of the gateway's code that upholds a promise, and how it is taken out."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutation import structure

PROMISES = {
    "P1": "At most one write: the fleet writes a command's frame to a device at most once.",
    "P2": "One verdict: every command ends once, with gap-free `seq`, whoever dies and whatever is lost.",
    "P3": "Honest uncertainty: after a `not_sent` verdict no byte was ever written, before or after it.",
    "P4": "No wrong answer: an answer is given to no command but its own.",
    "P5": "Order: the commands of one device are written in the order of the stream.",
    "P6": "Telemetry first: nothing outbound is waited for on the path that reads from devices.",
    "P7": "Stored, then acknowledged: no record is acknowledged before it is stored, none is lost after it.",
    "registry": "The registry names the holder of a device; an instance removes only its own entries.",
    "faults": "Each fault of a device, a producer or Redis ends as the contract says, for its own reason.",
    "bounds": "Memory and time have limits for every peer, and nothing waits for a call that blocks.",
    "security": "Unknown devices are refused, secrets are not shown, and hostile text does no harm.",
}
"""What is promised: P1 to P7 of the README, and what stands beside them in its other pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """A piece of code that upholds a promise, found by its structure (`tests.mutation.structure`).

    Attributes:
        promise: a key of `PROMISES`.
        name: what it is called, unlike any other.
        what: what it does, in a sentence.
        file: the file it stands in, Python or Lua.
        where: the qualified name of the function or class it stands in; "" for a module or a Lua script.
        code: the code itself, which stands there once: statements, an expression, ``key=value`` of a call or
            ``key: value`` of a dictionary; ``...`` is any block of a statement.
        mutant: the code that replaces it; "" removes it.
        without: what the mutant does, in a few words.
        tests: ids of tests below ``tests/`` that must fail then, the most telling one first.
    """

    promise: str
    name: str
    what: str
    file: str
    where: str = ""
    code: str
    mutant: str
    without: str
    tests: tuple[str, ...]

    def taken_out(self, source: str) -> str:
        """`source`, the text of `file`, with the mutant in the place of the code.

        Raises:
            NotOnceError: the code does not stand once where the row says.
        """
        try:
            if self.file.endswith(".lua"):
                return structure.replace_lua(source, self.code, self.mutant)
            return structure.replace(source, self.where, self.code, self.mutant)
        except structure.NotOnceError as error:
            raise structure.NotOnceError(f"{self.name!r}, {self.file}: {error}:\n{self.code}") from None
