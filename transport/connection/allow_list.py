"""Who may come in: the list of allowed devices, kept in a file or by the store.

A file is read in a thread, since it may hang or be long. The loop sees the list as it was last read whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from fsm.errors import GatewayFault
from fsm.outbound import IMEI
from transport.connection.file_reader import PATIENCE, FileReader, NotRead, regular
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

OFF, REDIS = "off", "redis"

Done = Callable[[bool], None]
Stamp = tuple[int, int, int]
"""Time of the last change, size and number of a file: another stamp, another content."""
UNREADABLE = (NotRead, OSError, UnicodeDecodeError)


class AllowListPort(Protocol):
    """A list of the devices that may connect."""

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None when it has to be asked for."""

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up where the list is kept; `done` is told within a second."""

    async def reload(self) -> int:
        """Read the list again now; how many devices it names.

        Raises:
            GatewayError, OSError, ValueError: it cannot be read; what was read before stays.
        """


class Listing(NamedTuple):
    """What a file held when it was read."""

    stamp: Stamp
    imeis: set[str]
    bad_lines: list[int]


class BadAllowList(GatewayFault):
    """The file that names the devices cannot be read at the start."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The allow-list {path} cannot be read: {why}.")
        self.path = path


class FileAllowList:
    """A file with one IMEI a line; empty lines and what follows a ``#`` say nothing.

    A device of the list as it was last read is allowed. While the file cannot be read, any other is allowed
    or refused by `when_unavailable`. It is read when the object is made, later by `look` and `reload`, which
    one task calls.

    Args:
        patience: seconds that reading the file may take.
    """

    def __init__(self, path: Path, *, when_unavailable: bool, patience: float = PATIENCE) -> None:
        self._path = path
        self._when_unavailable = when_unavailable
        self._reader = FileReader(str(path), patience)
        self._imeis: set[str] = set()
        self._former: set[str] = set()
        self._stamp: Stamp | None = None
        self.error = ""
        try:
            self._take(self._reader.read_now(self._read))
            self._tell()
        except UNREADABLE as error:
            self._unavailable(error)

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect."""
        return imei in self._imeis or (bool(self.error) and self._when_unavailable)

    def ask(self, imei: str, done: Done) -> None:
        """What `allows` says: a file holds nothing that was not read."""
        done(bool(self.allows(imei)))

    async def look(self) -> None:
        """Read the file if it is not the one that was read last."""
        try:
            if self._take(await self._reader.read(self._read_if_changed)):
                self._tell()
        except UNREADABLE as error:
            self._unavailable(error)

    async def reload(self) -> int:
        """Read the file whether it has changed or not; how many devices it names.

        Raises:
            NotRead, OSError, UnicodeDecodeError: it cannot be read.
        """
        try:
            self._take(await self._reader.read(self._read))
        except UNREADABLE as error:
            self._unavailable(error)
            raise
        return len(self._imeis)

    def _take(self, listing: Listing | None) -> bool:
        """What was read is the list now, if it has changed; whether it has."""
        self.error = ""
        if listing is None:
            return False
        self._former = self._imeis
        self._stamp, self._imeis, bad = listing
        if bad:
            log.warning("allow_list_lines_ignored", path=str(self._path), lines=bad[:10], count=len(bad))
        return True

    def _tell(self) -> None:
        log.info("allow_list_read", path=str(self._path), devices=len(self._imeis))

    def _unavailable(self, error: Exception) -> None:
        said, self.error = self.error, why_unreadable(error)
        self._stamp = None
        if said != self.error:
            log.error(
                "allow_list_unavailable",
                path=str(self._path),
                error=self.error,
                others="allowed" if self._when_unavailable else "refused",
            )

    # In the thread of the reader

    def _read_if_changed(self) -> Listing | None:
        self._let_go()
        return None if _stamp(os.stat(self._path)) == self._stamp else self._read()

    def _let_go(self) -> None:
        """Free the list of before, one by one: a long one freed at once would hold up the loop."""
        while self._former:
            self._former.pop()

    def _read(self) -> Listing:
        self._let_go()
        imeis, bad = set(), []
        # Only LF, CR and both end a line, and a comment: `splitlines` would end it at a form feed, too.
        with open(self._path, encoding="utf-8-sig", opener=regular) as file:
            stamp = _stamp(os.fstat(file.fileno()))
            for number, line in enumerate(file, 1):
                imei = line.partition("#")[0].strip()
                if IMEI.fullmatch(imei):
                    imeis.add(imei)
                elif imei:
                    bad.append(number)
        return Listing(stamp, imeis, bad)


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def why_unreadable(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return getattr(error, "strerror", None) or str(error)


def file_list(settings: Settings) -> FileAllowList | None:
    """The list in a file, if the settings name one.

    Raises:
        BadAllowList: it cannot be read, which is no reason to end once the gateway runs.
    """
    if settings.allow_list in (OFF, REDIS):
        return None
    path, when_unavailable = Path(settings.allow_list), settings.allow_list_when_unavailable == "open"
    found = FileAllowList(path, when_unavailable=when_unavailable)
    if found.error:
        raise BadAllowList(path, found.error.rstrip("."))
    return found


class Gate:
    """Asks the list, when there is one, and tells of the devices that were refused."""

    def __init__(self, allow_list: AllowListPort | None, metrics: Metrics) -> None:
        self._list = allow_list
        self._metrics = metrics
        self._refusals = LogThrottle()

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None when it has to be asked for."""
        return True if self._list is None else self._list.allows(imei)

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up; `done` is told within a second."""
        assert self._list is not None
        self._list.ask(imei, done)

    def refused(self, imei: str, peer: str, now: float) -> None:
        """A device was sent away: counted always, logged once a minute."""
        self._metrics.refused.inc()
        if self._refusals.allow(imei, now):
            log.warning("device_refused", imei=imei, peer=peer)
