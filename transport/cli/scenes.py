"""The eight commands of the demonstration: what each device does, and how each command has to end."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from fsm import reasons
from fsm.command import DELIVERED, FAILED, RESPONDED, TIMEOUT
from transport.simulator.behaviour import Behaviour
from transport.simulator.fleet import IMEI_BASE
from transport.teltonika.frame import CODEC_8, CODEC_8E, CODEC_16

LATE_BY = 2.5
_REPORT = 2.0

WELL, REFUSING, LATE, SILENT, BROKEN, ABSENT = (f"{IMEI_BASE + number:015d}" for number in range(6))

TRACKERS = {
    WELL: Behaviour(codec=CODEC_8E, interval=_REPORT),
    REFUSING: Behaviour(codec=CODEC_16, interval=_REPORT, answers="nack"),
    LATE: Behaviour(interval=_REPORT, answers="late", late_by=LATE_BY),
    SILENT: Behaviour(interval=_REPORT, answers="never"),
    BROKEN: Behaviour(codec=CODEC_8, interval=_REPORT, records_per_frame=4, split=11, ping_interval=1.0),
}
"""The five devices that connect; the sixth stays offline."""

# Only Linux tells the gateway how many bytes the TCP of a device has acknowledged.
_UNANSWERED = frozenset({reasons.RECEIVED, reasons.MAYBE_SENT})


@dataclass(slots=True)
class Scene:
    """One command and the outcome that it has to have.

    Attributes:
        name: what the scene shows; also the command's id.
        state, reason: how the command has to end. ``delivery`` lists the values that its last event may have.
        means: what that end tells, in one sentence.
        note: a note that has to follow; empty for none.
        options: arguments of `transport.cli.send.entry` besides imei, text and id.
    """

    name: str
    imei: str
    text: str
    state: str
    delivery: frozenset[str]
    means: str
    reason: str = ""
    note: str = ""
    options: dict[str, str | float | bool] = field(default_factory=dict)


@dataclass(slots=True)
class Act:
    """A scene that runs or has run: its events and notes so far."""

    scene: Scene
    entries: list[dict[str, str]] = field(default_factory=list)

    @property
    def ending(self) -> dict[str, str]:
        """The terminal event; empty as long as there is none."""
        return next((entry for entry in self.entries if entry.get("terminal") == "1"), {})

    @property
    def over(self) -> bool:
        """Whether the command has ended and its note, if any, has come."""
        noted = any(entry.get("note") == self.scene.note for entry in self.entries)
        return bool(self.ending) and (noted or not self.scene.note)

    @property
    def right(self) -> bool:
        """Whether it ended as it should."""
        end, scene = self.ending, self.scene
        ending = (end.get("state"), end.get("reason", ""))
        return (
            self.over and ending == (scene.state, scene.reason) and end.get("delivery", "") in scene.delivery
        )


def scenes() -> list[Scene]:
    """The commands, in the order in which they are sent."""
    answered, not_sent = frozenset({reasons.ANSWERED}), frozenset({reasons.NOT_SENT})
    return [
        Scene("answered", WELL, "getinfo", RESPONDED, answered, "The tracker has answered: the usual case."),
        Scene(
            *("codec-14", BROKEN, "getver", RESPONDED, answered),
            "The answer came in pieces, between records, and was put together.",
            options={"codec": "14"},
        ),
        Scene(
            *("refused", REFUSING, "getgps", FAILED, answered),
            "With codec 14 a tracker looks at the IMEI: this one says that it is another.",
            reasons.NACK,
            options={"codec": "14"},
        ),
        Scene(
            *("late", LATE, "getstatus", TIMEOUT, _UNANSWERED),
            "No answer in time; it came later, as a note, which changes no outcome.",
            reasons.RESPONSE_TIMEOUT,
            note=reasons.LATE_RESPONSE,
            options={"timeout": 1.0},
        ),
        Scene(
            *("never-answered", SILENT, "readio 66", TIMEOUT, _UNANSWERED),
            "The tracker may have obeyed: do not send it again without asking.",
            reasons.RESPONSE_TIMEOUT,
            options={"timeout": 4.0},
        ),
        _no_answer_expected(),
        Scene(
            *("expired", SILENT, "getio", TIMEOUT, not_sent),
            "It waited behind never-answered for too long. It may be sent again.",
            reasons.EXPIRED,
            options={"expires_in": 2.0},
        ),
        Scene(
            *("offline", ABSENT, "getinfo", FAILED, not_sent),
            "No gateway holds this tracker. With --offline wait the command would wait.",
            reasons.DEVICE_NOT_CONNECTED,
        ),
    ]


def _no_answer_expected() -> Scene:
    options: dict[str, str | float | bool] = {"no_answer": True, "timeout": 3.0}
    name, text = "no-answer", "cpureset"
    if sys.platform == "linux":
        means = "No answer was asked for: the TCP of the tracker has every byte."
        return Scene(name, WELL, text, DELIVERED, frozenset({reasons.RECEIVED}), means, options=options)
    means = "No answer was asked for, and this system does not tell whether every byte has arrived."
    return Scene(name, WELL, text, TIMEOUT, _UNANSWERED, means, reasons.DELIVERY_TIMEOUT, options=options)
