"""The allow-list: the devices that may connect, from a file or from the store.

A thread reads the file, because it may block or be long. The event loop uses the list that was read last, as
a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from fsm.errors import GatewayFault
from fsm.outbound import IMEI
from transport.connection.file_reader import READ_TIMEOUT, FileReader, NotRead, regular
from transport.log_throttle import LogThrottle
from transport.metrics import Metrics
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

OFF, REDIS = "off", "redis"

Done = Callable[[bool], None]
Stamp = tuple[int, int, int]
"""Modification time, size and inode of a file: if they differ, the content may differ."""
UNREADABLE = (NotRead, OSError, UnicodeDecodeError)


class AllowListPort(Protocol):
    """A list of the devices that may connect."""

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None if the caller has to `ask`."""

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up in the store; `done` is called with the result within a second."""

    async def reload(self) -> int:
        """Read the list again now; the number of its devices. After an error the former list stays in use.

        Raises:
            GatewayError, OSError, ValueError: it cannot be read.
        """


class Listing(NamedTuple):
    """The content of a file."""

    stamp: Stamp
    imeis: set[str]
    bad_lines: list[int]


class BadAllowList(GatewayFault):
    """The allow-list file cannot be read at the start."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The allow-list {path} cannot be read: {why}.")
        self.path = path


class FileAllowList:
    """A file with one IMEI in each line; empty lines and text after ``#`` are ignored.

    A device of the list that was read last is allowed. As long as the file cannot be read, `when_unavailable`
    decides about other devices. The file is read by the constructor, and later by `reload_if_changed` and
    `reload`, which one task calls.

    Args:
        when_unavailable: whether other devices are allowed while the file cannot be read.
        timeout: seconds that a read of the file may take.
    """

    def __init__(self, path: Path, *, when_unavailable: bool, timeout: float = READ_TIMEOUT) -> None:
        self._path = path
        self._when_unavailable = when_unavailable
        self._reader = FileReader(str(path), timeout)
        self._imeis: set[str] = set()
        self._former: set[str] = set()
        self._stamp: Stamp | None = None
        self.error = ""
        try:
            self._take(self._reader.read_now(self._read))
            self._log()
        except UNREADABLE as error:
            self._unavailable(error)

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect."""
        return imei in self._imeis or (bool(self.error) and self._when_unavailable)

    def ask(self, imei: str, done: Done) -> None:
        """The same as `allows`: the whole file was read."""
        done(bool(self.allows(imei)))

    async def reload_if_changed(self) -> None:
        """Read the file if its stamp has changed."""
        try:
            if self._take(await self._reader.read(self._read_if_changed)):
                self._log()
        except UNREADABLE as error:
            self._unavailable(error)

    async def reload(self) -> int:
        """Read the file even if it has not changed; the number of its devices.

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
        """Replace the list; False if there is no new one."""
        self.error = ""
        if listing is None:
            return False
        self._former = self._imeis
        self._stamp, self._imeis, bad = listing
        if bad:
            log.warning("allow_list_lines_ignored", path=str(self._path), lines=bad[:10], count=len(bad))
        return True

    def _log(self) -> None:
        log.info("allow_list_read", path=str(self._path), devices=len(self._imeis))

    def _unavailable(self, error: Exception) -> None:
        before, self.error = self.error, why_unreadable(error)
        self._stamp = None
        if before != self.error:
            log.error(
                "allow_list_unavailable",
                path=str(self._path),
                error=self.error,
                others="allowed" if self._when_unavailable else "refused",
            )

    # In the thread of the reader

    def _read_if_changed(self) -> Listing | None:
        self._free_former()
        return None if _stamp(os.stat(self._path)) == self._stamp else self._read()

    def _free_former(self) -> None:
        """Free the former list item by item: to free a long one at once would stall the loop."""
        while self._former:
            self._former.pop()

    def _read(self) -> Listing:
        self._free_former()
        imeis, bad = set(), []
        # Only LF, CR and CR LF end a line or a comment; `splitlines` would end it at a form feed, too.
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
    """Why a file could not be read, as a short phrase."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return getattr(error, "strerror", None) or str(error)


def file_list(settings: Settings) -> FileAllowList | None:
    """The allow-list file, if the settings name one.

    Raises:
        BadAllowList: it cannot be read. Later, while the gateway runs, that is only logged.
    """
    if settings.allow_list in (OFF, REDIS):
        return None
    path, when_unavailable = Path(settings.allow_list), settings.allow_list_when_unavailable == "open"
    found = FileAllowList(path, when_unavailable=when_unavailable)
    if found.error:
        raise BadAllowList(path, found.error.rstrip("."))
    return found


class AccessControl:
    """Decides which devices may connect, by the allow-list if there is one, and logs refused devices.

    Args:
        certified: whether devices with TLS have a certificate of the operator's authority.
    """

    def __init__(
        self, allow_list: AllowListPort | None, metrics: Metrics, *, certified: bool = False
    ) -> None:
        self._list = allow_list
        self._certified = certified
        self._metrics = metrics
        self._refusals = LogThrottle()

    def allows(self, imei: str) -> bool | None:
        """Whether the device may connect; None if the caller has to `ask`."""
        return True if self._list is None else self._list.allows(imei)

    def vouches(self, secure: bool) -> bool:
        """Whether the operator knows a device that may connect: by a list, or with TLS by its certificate."""
        return self._list is not None or (secure and self._certified)

    def ask(self, imei: str, done: Done) -> None:
        """Look the device up; `done` is called with the result within a second."""
        assert self._list is not None
        self._list.ask(imei, done)

    def refused(self, imei: str, peer: str, now: float) -> None:
        """Count a refused device, and log it once a minute."""
        self._metrics.refused.inc()
        if self._refusals.allow(imei, now):
            log.warning("device_refused", imei=imei, peer=peer)
