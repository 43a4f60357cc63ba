"""Who may come in: the list of allowed devices, kept in a file or by the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from fsm.outbound import IMEI
from transport.metrics import Metrics
from transport.seldom import Seldom
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

OFF, REDIS = "off", "redis"

Done = Callable[[bool], None]
Stamp = tuple[int, int, int]


class AllowListPort(Protocol):
    """A list of the devices that may connect."""

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None when it has to be asked for."""

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up where the list is kept; `done` is told within a second."""

    def look(self) -> None:
        """The regular look for changes, once a second."""


class FileAllowList:
    """A file with one IMEI a line; empty lines and what follows a ``#`` say nothing.

    A device of the list as it was last read is allowed. While the file cannot be read, any other is allowed
    or refused by `when_unavailable`.
    """

    def __init__(self, path: Path, *, when_unavailable: bool) -> None:
        self._path = path
        self._when_unavailable = when_unavailable
        self._imeis: frozenset[str] = frozenset()
        self._stamp: Stamp | None = None
        self._error = ""
        self.look()

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect."""
        return imei in self._imeis or (bool(self._error) and self._when_unavailable)

    def ask(self, imei: str, done: Done) -> None:
        """What `allows` says: a file holds nothing that was not read."""
        done(bool(self.allows(imei)))

    def look(self) -> None:
        """Read the file again if it is not the one that was read last."""
        try:
            stat = os.stat(self._path)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._imeis = self._read()
                log.info("allow_list_read", path=str(self._path), devices=len(self._imeis))
            self._stamp, self._error = stamp, ""
        except (OSError, UnicodeDecodeError) as error:
            self._unavailable(error)

    def _unavailable(self, error: OSError | UnicodeDecodeError) -> None:
        said, self._error = self._error, getattr(error, "strerror", None) or "not UTF-8"
        self._stamp = None
        if said != self._error:
            log.error(
                "allow_list_unavailable",
                path=str(self._path),
                error=self._error,
                others="allowed" if self._when_unavailable else "refused",
            )

    def _read(self) -> frozenset[str]:
        imeis, bad = set(), []
        # `splitlines` would end a line, and a comment, where no editor shows an end: at a form feed, say.
        for number, line in enumerate(self._path.read_text(encoding="utf-8-sig").split("\n"), 1):
            imei = line.partition("#")[0].strip()
            if IMEI.fullmatch(imei):
                imeis.add(imei)
            elif imei:
                bad.append(number)
        if bad:
            log.warning("allow_list_lines_ignored", path=str(self._path), lines=bad[:10], count=len(bad))
        return frozenset(imeis)


def file_list(settings: Settings) -> FileAllowList | None:
    """The list in a file, if the settings name one."""
    if settings.allow_list in (OFF, REDIS):
        return None
    when_unavailable = settings.allow_list_when_unavailable == "open"
    return FileAllowList(Path(settings.allow_list), when_unavailable=when_unavailable)


class Gate:
    """Asks the list, when there is one, and tells of the devices that were refused."""

    def __init__(self, allow_list: AllowListPort | None, metrics: Metrics) -> None:
        self._list = allow_list
        self._metrics = metrics
        self._refusals = Seldom()

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None when it has to be asked for."""
        return True if self._list is None else self._list.allows(imei)

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up; `done` is told within a second."""
        assert self._list is not None
        self._list.ask(imei, done)

    def look(self) -> None:
        """The regular look, once a second."""
        if self._list is not None:
            self._list.look()

    def refused(self, imei: str, peer: str, now: float) -> None:
        """A device was sent away: counted always, logged once a minute."""
        self._metrics.refused.inc()
        if self._refusals.worth(imei, now):
            log.warning("device_refused", imei=imei, peer=peer)
