"""One independent judge of a run: what the promises say, decided from outside.

It shares nothing with the gateway: its own wire decoder, its own table of moves, its own fold.

    I1 at most one write per command      I8 at rest nothing is left in streams and pending lists
    I2 one terminal event                 I9 the log folds to the ledger
    I3 seq without gaps                   I10 at rest the registry names the live sessions
    I4 ``sent`` before the write          I11 frames are acknowledged while their store can be reached
    I5 ``not_sent`` was never written     I12 every event is a move of the table
    I6 an answer is its command's own     P5 one device's commands are written in stream order
    I7 one unanswered command             P7 an acknowledged record is in the stream

Devices of a run repeat a command's text in their answer, and no two commands have the same text.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tests.history import Fields, History
from tests.moves import COMMAND_MOVES, SESSION_MOVES
from tests.wiretap import Wiretap, Written


@dataclass(frozen=True, order=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def check(history: History, *, at_rest: bool) -> list[Violation]:
    """Every violation; `at_rest` adds what must hold once faults have ceased for long enough."""
    judge = Checker(history)
    found = [violation for rule in judge.always for violation in rule()]
    if at_rest:
        found += [violation for rule in judge.rest for violation in rule()]
    return sorted(set(found))


class Checker:
    """The rules, each a generator of violations."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.always = (
            self.wire_rules,
            self.one_write,
            self.one_verdict,
            self.no_gaps,
            self.sent_before_write,
            self.never_after_expiry,
            self.not_sent_is_true,
            self.certainty_is_true,
            self.answers_are_own,
            self.log_is_ledger,
            self.known_moves,
            self.known_session_moves,
            self.stream_order,
            self.acked_is_stored,
            self.acked_in_time,
        )
        self.rest = (self.verdict_for_all, self.nothing_left, self.registry_is_true)

    # What the rules look at

    @cached_property
    def texts(self) -> dict[str, str]:
        """Command text -> command_id."""
        return {p.fields["payload"]: p.command_id for p in self.history.produced if "payload" in p.fields}

    @cached_property
    def taps(self) -> list[Wiretap]:
        """Every connection, replayed."""
        taps = {name: Wiretap(name, imei) for name, imei in self.history.connections.items()}
        for data in self.history.traffic:
            taps[data.connection].hear(data)
        return list(taps.values())

    @cached_property
    def writes(self) -> dict[str, list[Written]]:
        """command_id -> its writes."""
        found = defaultdict(list)
        for tap in self.taps:
            for written in tap.written:
                found[self.texts.get(written.text, f"? {written.text}")].append(written)
        return found

    @cached_property
    def lives(self) -> dict[str, list[tuple[str, Fields]]]:
        """command_id -> its events in the order of the log."""
        found = defaultdict(list)
        for entry, fields in self.history.responses:
            if fields["kind"] == "command":
                found[fields["command_id"]].append((entry, fields))
        return found

    def _verdicts(self) -> Iterator[tuple[str, Fields]]:
        for command_id, events in self.lives.items():
            for _, event in events:
                if event["terminal"] == "1":
                    yield command_id, event

    # Always

    def wire_rules(self) -> Iterator[Violation]:
        """I7, and what the protocol asks of every byte."""
        for tap in self.taps:
            for rule, text in tap.faults:
                if rule != "quiet" or self.history.from_gateways:
                    yield Violation(rule, text)
        for command_id in self.writes:
            if command_id.startswith("? "):
                yield Violation("wire", f"a command was written that nobody asked for: {command_id[2:]!r}")

    def one_write(self) -> Iterator[Violation]:
        """I1."""
        for command_id, writes in self.writes.items():
            if len(writes) > 1:
                places = ", ".join(f"{written.connection} at {written.at:.0f}" for written in writes)
                yield Violation("I1", f"{command_id} was written {len(writes)} times: {places}")

    def one_verdict(self) -> Iterator[Violation]:
        """I2, as far as it holds at any time."""
        for command_id, count in Counter(command_id for command_id, _ in self._verdicts()).items():
            if count > 1:
                yield Violation("I2", f"{command_id} has {count} terminal events")

    def no_gaps(self) -> Iterator[Violation]:
        """I3."""
        for command_id, events in self.lives.items():
            numbers = [int(event["seq"]) for _, event in events]
            if numbers != list(range(1, len(numbers) + 1)):
                yield Violation("I3", f"{command_id} has seq {numbers}")

    def sent_before_write(self) -> Iterator[Violation]:
        """I4: on the session that the event names."""
        for command_id, writes in self.writes.items():
            sent = [
                (int(entry.partition("-")[0]), event["session_id"])
                for entry, event in self.lives.get(command_id, ())
                if event["state"] == "sent"
            ]
            for written in writes:
                here = (
                    {written.connection} if not written.connection.startswith("?") else {w for _, w in sent}
                )
                if not any(at <= written.at and where in here for at, where in sent):
                    yield Violation("I4", f"{command_id} was written on {written.connection} without `sent`")

    def never_after_expiry(self) -> Iterator[Violation]:
        """A command is not written once its time is over, by the clock of Redis."""
        over: dict[str, float] = {}
        for produced in self.history.produced:
            if produced.is_command:
                text = produced.fields["payload"]
                over[text] = max(over.get(text, 0.0), produced.expires_at(self.history.ttl))
        for tap in self.taps:
            for written in tap.written:
                late = written.at - over.get(written.text, written.at)
                if late > self.history.clock_error:
                    yield Violation("expiry", f"{written.text!r} was written {late:.0f} ms after its time")

    def not_sent_is_true(self) -> Iterator[Violation]:
        """I5."""
        for command_id, event in self._verdicts():
            if event["delivery"] == "not_sent" and command_id in self.writes:
                where = self.writes[command_id][0].connection
                yield Violation(
                    "I5", f"{command_id} is {event['reason']}, not_sent, and was written on {where}"
                )

    def certainty_is_true(self) -> Iterator[Violation]:
        """`received` and `answered` are said only of commands that the device has."""
        got = {self.texts.get(text) for _, text in self.history.received}
        for command_id, event in self._verdicts():
            if event["delivery"] in ("received", "answered") and command_id not in got:
                yield Violation("P3", f"{command_id} is {event['delivery']}, and no device received it")

    def answers_are_own(self) -> Iterator[Violation]:
        """I6, notes about late answers included."""
        texts = defaultdict(set)
        for text, command_id in self.texts.items():
            texts[command_id].add(text)
        for _, fields in self.history.responses:
            command_id, answer = fields.get("command_id", ""), fields.get("response", "")
            if command_id and answer and not any(text in answer for text in texts[command_id]):
                yield Violation("I6", f"{command_id} was given the answer {answer!r}")

    def log_is_ledger(self) -> Iterator[Violation]:
        """I9."""
        for command_id, ledger in self.history.ledgers.items():
            _, last = self.lives[command_id][-1] if command_id in self.lives else ("", {})
            told = (last.get("state"), last.get("seq"))
            if told != (ledger["state"], ledger["seq"]):
                yield Violation("I9", f"{command_id}: log {told}, ledger {ledger['state'], ledger['seq']}")

    def known_moves(self) -> Iterator[Violation]:
        """I12, with the reason and the delivery that belong to the move."""
        for command_id, events in self.lives.items():
            before = ""
            for _, event in events:
                move = (event["prev"], event["trigger"], event["state"])
                reasons, deliveries = COMMAND_MOVES.get(move, ((), ()))
                if (
                    event["prev"] != before
                    or event["reason"] not in reasons
                    or event["delivery"] not in deliveries
                ):
                    yield Violation(
                        "I12", f"{command_id}: {move} {event['reason']} {event['delivery']} after {before!r}"
                    )
                before = event["state"]

    def known_session_moves(self) -> Iterator[Violation]:
        """I12, for sessions. Their events may be repeated and may be lost, so no more can be said."""
        for _, event in self.history.responses:
            if event["kind"] == "session":
                move = (event["prev"], event["trigger"], event["state"])
                if move not in SESSION_MOVES:
                    yield Violation("I12", f"session {event['session_id']}: {move}")

    def stream_order(self) -> Iterator[Violation]:
        """P5."""
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for written in sorted((w for tap in self.taps for w in tap.written), key=lambda written: written.at):
            command_id = self.texts.get(written.text, "")
            for _, event in self.lives.get(command_id, ()):
                if event["state"] == "sent" and event["instance_id"] not in self.history.contested:
                    milliseconds, _, serial = event["outbound_id"].partition("-")
                    device, place = (event["imei"], event["instance_id"]), (int(milliseconds), int(serial))
                    if place < last.get(device, (0, 0)):
                        yield Violation("P5", f"{command_id} was written after a later command of its device")
                    last[device] = max(place, last.get(device, (0, 0)))

    def acked_is_stored(self) -> Iterator[Violation]:
        """P7."""
        stored = {(entry["imei"], json.loads(entry["data"])["timestamp"]) for entry in self.history.telemetry}
        for imei, timestamp in self.history.acked:
            if (imei, timestamp) not in stored:
                yield Violation("P7", f"the record {timestamp} of {imei} was acknowledged and is not stored")

    def acked_in_time(self) -> Iterator[Violation]:
        """I11."""
        yield from (Violation("I11", text) for text in self.history.late_acks)

    # At rest

    def verdict_for_all(self) -> Iterator[Violation]:
        """I2, for every command with a readable id."""
        decided = {command_id for command_id, _ in self._verdicts()}
        for command_id in {p.command_id for p in self.history.produced if p.is_command} - decided - {""}:
            life = [event["state"] for _, event in self.lives.get(command_id, ())]
            yield Violation("I2", f"{command_id} has no verdict: {life}")

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
            imei: (instance, self.history.tokens.get(imei, ""))
            for imei, instance in self.history.registry.items()
        }
        for imei in self.history.tokens.keys() - named.keys():
            yield Violation("I10", f"{imei}: a session token stands in no entry of the registry")
        for imei in named.keys() | self.history.live.keys():
            if named.get(imei) != self.history.live.get(imei):
                yield Violation(
                    "I10", f"{imei}: registry {named.get(imei)}, connected {self.history.live.get(imei)}"
                )
