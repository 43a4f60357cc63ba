"""The page: findings in words, drawings and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from ..times import Times, duration
from . import charts, tables
from .charts import Charts
from .facts import WORST, Facts
from .markup import Child, element, written
from .svg import drawn
from .words import findings, share, shown_of, time_of

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A browser that obeys it loads nothing from anywhere, and runs nothing."""


def page(facts: Facts, times: Times, zone: tzinfo) -> str:
    """The whole page.

    Args:
        times, zone: how times are shown, in words and in drawings.
    """
    return written(_Page(facts, times, zone).made())


def zone_of(utc: bool) -> tzinfo:
    """The zone in which times are shown."""
    return UTC if utc else datetime.now().astimezone().tzinfo or UTC


class _Page:
    def __init__(self, facts: Facts, times: Times, zone: tzinfo) -> None:
        self._facts = facts
        self._times = times
        self._charts = Charts(facts.span, zone, facts.outages)

    def made(self) -> Element:
        """The element ``html``."""
        cards = element("div", *self._drawings(), *self._now(), *self._wide(), class_="cards")
        main = element("main", self._header(), self._tiles(), cards, self._footer())
        return element("html", self._head(), element("body", main), lang="en")

    def _head(self) -> Element:
        style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
        return element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"telgw report {self._times.show(self._facts.span.until_ms)}"),
            element("style", style),
        )

    def _header(self) -> Element:
        span, show = self._facts.span, self._times.show
        found = [element("li", text, class_=kind) for kind, text in findings(self._facts)]
        return element(
            "header",
            element("h1", "telgw report"),
            element("p", f"{show(span.since_ms)} to {show(span.until_ms)}", class_="muted"),
            element("ul", *found, class_="findings"),
        )

    def _tiles(self) -> Element:
        facts, tally = self._facts, self._facts.tally
        known = facts.overview.instances
        alive = sum(one.heartbeat_age_ms is not None for one in known)
        good = tally.of("responded") + tally.of("delivered")
        middle, late = [time_of(ms) for ms in tally.answers.quantiles((0.5, 0.95))] or ["none", "none"]
        return element(
            "dl",
            _tile("commands ended", f"{tally.ended:,}", f"{tally.accepted:,} were accepted"),
            _tile("answered or delivered", f"{good:,}", share(good, tally.ended)),
            _tile("timeouts", f"{tally.of('timeout'):,}", share(tally.of("timeout"), tally.ended)),
            _tile("failed", f"{tally.of('failed'):,}", share(tally.of("failed"), tally.ended)),
            _tile("median answer", middle, "half are faster"),
            _tile("95 % of answers", late, "or faster"),
            _tile("devices online", f"{facts.connected:,}", "now"),
            _tile("gateways alive", f"{alive}", f"of {len(known)}, now"),
            class_="tiles",
        )

    def _drawings(self) -> Iterator[Element]:
        yield self._online()
        yield from self._of_commands()
        facts, part = self._facts, duration(self._facts.span.width_ms)
        if facts.tally.closes:
            about = f"Connections of devices that ended, by reason, for each {part}."
            yield _drawing("Connections that ended", [about], self._charts.kinds(facts.tally.closes))
        if facts.outages:
            about = "A gateway: from its last event to its next one, at most. Redis: while it stored nothing."
            yield _drawing("Outages", [about], self._charts.away())

    def _online(self) -> Element:
        if self._facts.online is None:
            return _card("Devices online", ["The log has no session events of this time: only now is known."])
        about: list[Child] = [
            "Connected devices; darker: down to the fewest within a part. Bands: ",
            *(element("span", class_="key redis"), " Redis was away, "),
            *(element("span", class_="key gateway"), " a gateway was."),
        ]
        return _drawing("Devices online", about, self._charts.online(self._facts.online))

    def _of_commands(self) -> Iterator[Element]:
        tally, part = self._facts.tally, duration(self._facts.span.width_ms)
        if tally.ended:
            about = f"Commands by how they ended, for each {part}."
            yield _drawing("Outcomes of commands", [about], self._charts.outcomes(tally.outcomes))
        if tally.reasons:
            about = f"Commands that failed or timed out, by reason, for each {part}."
            yield _drawing("Why commands failed", [about], self._charts.kinds(tally.reasons))
        if tally.answers.count:
            about = "From the write to the answer, by the command's first word where it is a known one."
            yield _drawing("Time to answer", [about], charts.distribution(tally.answers, tally.by_verb))
            about = "Line: 5 to 95 % of the answers. Bar: 25 to 75 %. Mark: the median."
            yield _drawing("Time to answer by gateway", [about], charts.spread(tally.by_gateway))

    def _now(self) -> Iterator[Element]:
        facts = self._facts
        if facts.tally.endings:
            yield _card("How commands ended", [], tables.endings(facts), class_="card ended")
        found = [tables.server(facts)]
        if facts.overview.consumers:
            found.append(tables.consumers(facts.overview))
        if facts.tally.notes:
            found.append(tables.notes(facts))
        yield _card("Redis, consumers, notes", [], *found, class_="card now")

    def _wide(self) -> Iterator[Element]:
        facts = self._facts
        about = (
            "Heartbeat and commands in flight: now. Answers: from the write. Written: from the acceptance."
        )
        yield _card("Gateways", [about], tables.gateways(facts), class_="card wide")
        if facts.outages:
            about = shown_of(len(facts.outages), tables.OUTAGES)
            yield _card(
                "Outages, the longest first", [about], tables.outages(facts, self._times), class_="card wide"
            )
        if troubled := sum(counts.trouble > 0 for counts in facts.tally.devices.values()):
            about = "By failed commands, timeouts and lost connections together. " + shown_of(troubled, WORST)
            yield _card("The worst devices", [about], tables.worst(facts), class_="card wide")

    def _footer(self) -> Element:
        facts = self._facts
        begins = facts.begins_at
        log = "The log is empty." if begins is None else f"The log begins at {self._times.show(begins)}."
        unreadable = f" {facts.unreadable:,} of them could not be read." if facts.unreadable else ""
        notes = (
            f"From {facts.entries:,} entries of the log.{unreadable} {log} What was trimmed is not here.",
            "An outage of Redis in which no connection ended is not seen. A gateway that was killed "
            "may have worked on after its last event.",
            "telgw history --imei IMEI tells all of one device; docs/operations.md explains the reasons.",
        )
        return element("footer", *(element("p", note) for note in notes))


def _tile(name: str, value: str, more: str) -> Element:
    return element(
        "div", element("dt", name), element("dd", value), element("dd", more, class_="more"), class_="tile"
    )


def _drawing(title: str, about: Iterable[Child], figure: Figure) -> Element:
    return _card(title, about, drawn(figure, title.lower().replace(" ", "-"), title))


def _card(title: str, about: Iterable[Child], *content: Child, class_: str = "card") -> Element:
    said = list(about)
    words = [element("p", *said, class_="about")] if any(said) else []
    return element("section", element("h2", title), *words, *content, class_=class_)
