"""An independent checker of a run: whether the promises hold, seen from outside.

It shares nothing with the gateway: its own wire decoder, its own table of moves, its own fold.

    I1 at most one write per command      I8 at rest nothing is left in streams and pending lists
    I2 one terminal event                 I9 the log folds to the ledger
    I3 seq without gaps                   I10 at rest the registry names the live sessions
    I4 ``sent`` before the write          I11 frames are acknowledged while their store can be reached
    I5 ``not_sent`` was never written     I12 every event is a move of the table
    I6 an answer is its command's own     P5 one device's commands are written in stream order
    I7 one unanswered command             P7 an acknowledged record is in the stream
    P4 serial data are told from answers  M1 what a serial port said is in the stream, in order

Devices of a run repeat a command's text in their answer, and no two commands have the same text.

Where Redis has lost what it confirmed, nobody is asked to know it but the process that did it: each log is
checked by itself, and a command that is asked again afterwards may have a second life elsewhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from tests import wire_format
from tests.at_rest import AtRest
from tests.evidence import Evidence, Violation, each_pair, process_of, time_of
from tests.history import Fields, History
from tests.moves import COMMAND_MOVES, SESSION_MOVES
from tests.wiretap import Written


def check(history: History, *, at_rest: bool) -> list[Violation]:
    """Every violation; `at_rest` adds what must hold once faults have ceased for long enough."""
    checkers = [Checker(history), AtRest(history)] if at_rest else [Checker(history)]
    return sorted({violation for checker in checkers for rule in checker.rules for violation in rule()})


class Checker(Evidence):
    """The rules, each a generator of violations."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.rules = (
            self.wire_rules,
            self.one_write,
            self.one_verdict,
            self.no_gaps,
            self.sent_before_write,
            self.never_after_expiry,
            self.not_sent_is_true,
            self.certainty_is_true,
            self.sent_names_its_peer,
            self.held_gets_nothing,
            self.answers_are_own,
            self.serial_data_are_no_answers,
            self.codecs_are_chosen,
            self.said_is_stored,
            self.said_in_order,
            self.log_is_ledger,
            self.known_moves,
            self.known_session_moves,
            self.stream_order,
            self.acked_is_stored,
            self.acked_in_time,
        )

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
            for first, second in each_pair(writes):
                remembered = process_of(first) == process_of(second)
                if remembered or not self.forgotten(command_id, self.sent_at(first), second.at):
                    places = ", ".join(f"{written.connection} at {written.at:.0f}" for written in writes)
                    yield Violation("I1", f"{command_id} was written {len(writes)} times: {places}")

    def one_verdict(self) -> Iterator[Violation]:
        """I2, as far as it holds at any time."""
        for command_id, _, events in self.stretches:
            count = sum(event["terminal"] == "1" for event in events)
            if count > 1:
                yield Violation("I2", f"{command_id} has {count} terminal events")

    def no_gaps(self) -> Iterator[Violation]:
        """I3."""
        for command_id, after_loss, events in self.stretches:
            numbers = [int(event["seq"]) for event in events]
            first = numbers[0] if after_loss and events[0].get("recovered") == "1" else 1
            if numbers != list(range(first, first + len(numbers))):
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
        """I5, of writes before the verdict and after it."""
        for command_id, at, event in self.verdicts:
            for written in self.writes.get(command_id, ()) if event["delivery"] == "not_sent" else ():
                if written.at >= at:
                    forgotten = self.forgotten(command_id, at, written.at)
                else:
                    forgotten = self.forgotten(command_id, self.sent_at(written), at)
                    forgotten &= not self._remembers(written, at, event)
                if not forgotten:
                    text = f"is {event['reason']}, not_sent, and was written on {written.connection}"
                    yield Violation("I5", f"{command_id} {text}")

    def _remembers(self, written: Written, at: float, verdict: Fields) -> bool:
        """Whether a verdict was given by the very process that had written."""
        _, sent = self.sent(written) or ("", {})
        instance, ended = sent.get("instance_id"), self.history.deaths.get(process_of(written), at)
        return instance == verdict["instance_id"] and instance not in self.history.contested and ended >= at

    def certainty_is_true(self) -> Iterator[Violation]:
        """`received` and `answered` are said only of commands that the device has.

        An uncertain answer may be an earlier one, or serial data: that risk is documented.
        """
        got = {self.texts.get(text) for _, text in self.history.received}
        for command_id, _, event in self.verdicts:
            if self._may_be_of_another(event):
                continue
            if event["delivery"] in ("received", "answered") and command_id not in got:
                yield Violation("P3", f"{command_id} is {event['delivery']}, and no device received it")

    def sent_names_its_peer(self) -> Iterator[Violation]:
        """Each `sent` says where it goes: the peer of its session, and how that has proved who it is."""
        events = [event for _, event in self.history.responses]
        peers = {
            e["session_id"]: (e["peer"], e["auth"]) for e in events if "auth" in e and e["kind"] == "session"
        }
        for event in events:
            if event["kind"] == "command" and event["state"] == "sent":
                told = event.get("peer"), event.get("auth")
                restored = not any(told) and self.history.losses  # of such an event it is not known any more
                if not restored and not (all(told) and told == peers.get(event["session_id"], told)):
                    yield Violation("peer", f"{event['command_id']} was sent to {told}")

    def held_gets_nothing(self) -> Iterator[Violation]:
        """After a take-over nothing is sent on the newer session for the hold, counted from its claim.

        Redis keeps the claims. Where it has lost that of the session, nobody knows who else had the device.
        """
        named: set[str] = set()
        since = self._claimed_at()
        for entry, event in self.history.responses if self.history.hold else ():
            session = event.get("session_id", "")
            if event.get("note") in ("takeover", "takeover_disputed"):
                named.add(session)
            elif session in named and event.get("state") == "sent" and event["kind"] == "command":
                until = since.get(session, 0.0) + self.history.hold - self.history.clock_error
                if time_of(entry) < until and not self.lost(since.get(session, 0.0)):
                    yield Violation("hold", f"{event['command_id']} was sent on {session} while it was held")

    def _claimed_at(self) -> dict[str, float]:
        """When the peer of each session began to be the device (epoch ms).

        That is its handshake, or the one of an earlier session of the same address, with none of another
        address between them: a peer that closes its connection and comes back is held no longer.
        """
        began = {data.connection: data.at for data in reversed(self.history.traffic) if data.up}
        hosts = {
            event["session_id"]: (event["imei"], event["peer"].rpartition(":")[0])
            for _, event in self.history.responses
            if event["kind"] == "session" and event.get("peer")
        }
        claims: dict[str, tuple[str, float]] = {}
        for session in sorted(hosts.keys() & began.keys(), key=began.__getitem__):
            imei, host = hosts[session]
            before, at = claims.get(imei, ("", 0.0))
            claims[imei] = host, at if host == before else began[session]
            began[session] = claims[imei][1]
        return began

    def answers_are_own(self) -> Iterator[Violation]:
        """I6, notes about late answers included."""
        texts = defaultdict(set)
        for text, command_id in self.texts.items():
            texts[command_id].add(text)
        for _, fields in self.history.responses:
            command_id, answer = fields.get("command_id", ""), fields.get("response", "")
            if self._may_be_of_another(fields):
                continue
            if command_id and answer and not any(text in answer for text in texts[command_id]):
                yield Violation("I6", f"{command_id} was given the answer {answer!r}")

    def _may_be_of_another(self, fields: Fields) -> bool:
        """Whether an answer is uncertain, and what the device said by itself or to some command."""
        imei, answer = fields.get("imei", ""), fields.get("response", "")
        heard = answer in self.said[imei] or any(text in answer for text in self.texts)
        return fields.get("attribution") == "uncertain" and heard

    def serial_data_are_no_answers(self) -> Iterator[Violation]:
        """P4: where a serial port speaks no answer on codec 12 is said to be certain, and every other is."""
        spoke_first = {tap.connection for tap in self.taps if tap.spoke_first}
        for _, event in self.history.responses:
            attribution, where = event.get("attribution", ""), event.get("session_id")
            if attribution == "certain" and event["codec"] == "12" and where in spoke_first:
                yield Violation("P4", f"the answer to {event['command_id']} is certain, and the port speaks")
            if attribution == "uncertain" and event["codec"] != "12":
                yield Violation("P4", f"the answer to {event['command_id']} on codec 14 is uncertain")

    def codecs_are_chosen(self) -> Iterator[Violation]:
        """P4: to a device that spoke before any command, codec 12 is written only where it was asked for."""
        asked = {p.command_id for p in self.history.produced if p.fields.get("codec") == "12"}
        for tap in self.taps:
            for written in tap.written if tap.spoke_first else ():
                if written.codec == "12" and self.texts.get(written.text) not in asked:
                    yield Violation("P4", f"{written.text!r} was written as codec 12 to a port that speaks")

    def said_is_stored(self) -> Iterator[Violation]:
        """M1: what was said before a frame that was acknowledged, unless it was taken for an answer.

        Where messages have a store of their own, a process that ends may lose them and not what followed, and
        what waits for that store may be stored when there are no more faults.
        """
        stored = {(entry["imei"], entry.get("text", "")) for entry in self.history.messages}
        apart = self.history.messages_apart
        if apart and self.history.calm_at is None:
            return
        excused = self.history.deaths if apart else {}
        for tap in self.taps:
            if tap.connection.rpartition("-")[0] in excused:
                continue
            for text in tap.said[: tap.kept]:
                if (tap.imei, text) not in stored and text not in tap.answered:
                    yield Violation("M1", f"{text!r} of {tap.imei} is not stored, and what followed it is")

    def said_in_order(self) -> Iterator[Violation]:
        """M1: of each connection; what is stored twice counts once."""
        stored: dict[str, dict[str, None]] = defaultdict(dict)
        for entry in self.history.messages:
            stored[entry["imei"]][entry.get("text", "")] = None
        for tap in self.taps:
            here = set(tap.said)
            found = [text for text in stored[tap.imei] if text in here]
            if found != [text for text in tap.said if text in stored[tap.imei]]:
                yield Violation("M1", f"what {tap.imei} said on {tap.connection} is stored as {found}")

    def log_is_ledger(self) -> Iterator[Violation]:
        """I9."""
        for command_id, ledger in self.history.ledgers.items():
            life = [event for entry, event in self.lives.get(command_id, ()) if not self.lost(time_of(entry))]
            told = (life[-1]["state"], life[-1]["seq"]) if life else (None, None)
            if told != (ledger["state"], ledger["seq"]):
                yield Violation("I9", f"{command_id}: log {told}, ledger {ledger['state'], ledger['seq']}")

    def known_moves(self) -> Iterator[Violation]:
        """I12, with the reason and the delivery that belong to the move."""
        for command_id, after_loss, events in self.stretches:
            before = events[0]["prev"] if after_loss else ""
            for event in events:
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
        """P5, within each log: what an adopter has ended comes up again when Redis has lost that.

        A command that was parked has the place of its parking.
        """
        last: dict[tuple[str, str, int], tuple[int, int]] = {}
        for written in sorted((w for tap in self.taps for w in tap.written), key=lambda written: written.at):
            _, event = self.sent(written) or ("", {})
            if event and event["instance_id"] not in self.history.contested:
                milliseconds, _, serial = self.place(event, written.at).partition("-")
                log = sum(loss.at <= written.at for loss in self.history.losses)
                device = (event["imei"], event["instance_id"], log)
                place = (int(milliseconds), int(serial))
                if place < last.get(device, (0, 0)):
                    text = f"{event['command_id']} was written after a later command of its device"
                    yield Violation("P5", text)
                last[device] = max(place, last.get(device, (0, 0)))

    def acked_is_stored(self) -> Iterator[Violation]:
        """P7."""
        stored = {(entry["imei"], at) for entry in self.history.telemetry for at in _timestamps(entry)}
        for imei, timestamp in self.history.acked:
            if (imei, timestamp) not in stored:
                yield Violation("P7", f"the record {timestamp} of {imei} was acknowledged and is not stored")

    def acked_in_time(self) -> Iterator[Violation]:
        """I11."""
        yield from (Violation("I11", text) for text in self.history.late_acks)


def _timestamps(entry: Fields) -> list[int]:
    """The times of the records in an entry of the telemetry stream."""
    if "frame" in entry:
        return wire_format.read_timestamps(bytes.fromhex(entry["frame"]))
    return [json.loads(entry["data"])["timestamp"]]
