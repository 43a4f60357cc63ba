"""What a consumer of the log remembers, also when Redis has lost it."""

from __future__ import annotations

from tests.history import Fields, Produced

Log = list[tuple[str, Fields]]


class Memory:
    """The log as a consumer has it who reads all of it, however often Redis has forgotten it.

    P2 is promised for what Redis keeps. So a command may be without a verdict if Redis lost it before a word
    was said of it; of whom a consumer has heard, it must hear the end.

    Attributes:
        lost: what was read and is not in Redis any more.
        decided: commands that have a verdict.
        sessions: (imei, peer) of the connections that were told of, and the instance of each.
    """

    def __init__(self) -> None:
        self.lost: Log = []
        self.decided: set[str] = set()
        self.sessions: dict[tuple[str, str], str] = {}
        self._heard: set[str] = set()
        self._gone: set[str] = set()

    def hear(self, log: Log) -> None:
        """Read on."""
        for _, fields in log:
            if fields["kind"] == "command":
                self._heard.add(fields["command_id"])
                if fields["terminal"] == "1":
                    self.decided.add(fields["command_id"])
            elif fields["kind"] == "session":
                self.sessions[fields["imei"], fields.get("peer", "")] = fields["instance_id"]

    def lose(self, log: Log, produced: list[Produced], at: float) -> None:
        """`at` epoch ms Redis lost everything: the whole `log`, and the entries of `produced` until then."""
        self.hear(log)
        self.lost += log
        self._gone |= {p.command_id for p in produced if int(p.entry.partition("-")[0]) <= at}

    @property
    def unheard(self) -> set[str]:
        """Commands that Redis has lost before anything was said of them."""
        return self._gone - self._heard

    def open(self) -> dict[str, str]:
        """Command -> its last state, of those that had no verdict when Redis lost everything."""
        last = {fields["command_id"]: fields for _, fields in self.lost if fields["kind"] == "command"}
        return {name: fields["state"] for name, fields in last.items() if fields["terminal"] == "0"}
