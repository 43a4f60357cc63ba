"""What a mechanism is: one line of the gateway that upholds a promise, and how it is taken out."""

from __future__ import annotations

from dataclasses import dataclass

PROMISES = {
    "P1": "At most one write: the fleet writes a command's frame to a device at most once.",
    "P2": "One verdict: every command ends once, with gap-free `seq`, whoever dies and whatever is lost.",
    "P3": "Honest uncertainty: after a `not_sent` verdict no byte was ever written, before or after it.",
    "P4": "No answer to a stranger: an answer is given to no command but its own.",
    "P5": "Order: the commands of one device are written in the order of the stream.",
    "P6": "Telemetry first: nothing outbound is waited for on the path that reads from devices.",
    "P7": "Stored, then acknowledged: no record is acknowledged before it is stored, none is lost after it.",
    "registry": "The registry names the instance that holds the device; nobody deletes what is not theirs.",
    "faults": "Each fault of a device, a producer or Redis ends as the contract says, for its own reason.",
    "bounds": "Nobody can take more memory or time than is theirs, and none waits for what has hung up.",
    "security": "Strangers stay outside, secrets inside, and hostile text is text.",
}
"""What is promised: P1 to P7 of the README, and what stands beside them in its other pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One line that upholds a promise.

    Attributes:
        promise: a key of `PROMISES`.
        name: what it is called, unlike any other.
        what: what it does, in a sentence.
        file: where it stands.
        text: the line or lines; they occur once in the file.
        mutant: what replaces them.
        without: what the mutant does, in a few words.
        tests: ids of tests below ``tests/`` that must fail then, the most telling one first.
    """

    promise: str
    name: str
    what: str
    file: str
    text: str
    mutant: str
    without: str
    tests: tuple[str, ...]
