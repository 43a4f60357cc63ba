"""The allow-list: the devices that may connect, from a file or from the store.

A thread reads the file, because it may block or be long. The event loop uses the list that was read last, as
a whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from fsm.device_terms import Absence, BadLine, Listed, read_line, terms_of
from fsm.errors import GatewayFault
from transport.connection.file_reader import READ_TIMEOUT, FileReader, NotRead, regular
from transport.settings import Settings

log = structlog.get_logger("telgw.sessions")

OFF, ANY, REDIS = "off", "any", "redis"
"""Words in the place of a file: no list; no list, and that is meant; the list in Redis."""
LIST_TIMEOUT = 4 * READ_TIMEOUT
"""Seconds that a read of the file may take: half a million lines with certificates take one or two."""

Done = Callable[[Listed], None]
Stamp = tuple[int, int, int]
"""Modification time, size and inode of a file: if they differ, the content may differ."""
UNREADABLE = (NotRead, OSError, UnicodeDecodeError)


class AllowListPort(Protocol):
    """A list of the devices that may connect."""

    changed: asyncio.Event
    """Set when another list than before may be in use."""

    def look_up(self, imei: str) -> Listed | None:
        """What the list says of the device; None if the caller has to `ask`."""

    @property
    def is_copy(self) -> bool:
        """Whether the list may be newer than what `look_up` says: then `ask` before a device is refused."""

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
    devices: dict[str, str]


class BadLines(GatewayFault):
    """Lines of the file are wrong.

    Attributes:
        stamp: of the file.
        count: how many lines are wrong; the message names the first.
    """

    def __init__(self, stamp: Stamp, first: int, why: str, count: int) -> None:
        more = f", and {count - 1} more lines are wrong" if count > 1 else ""
        super().__init__(f"line {first}: {why}{more}")
        self.stamp = stamp
        self.count = count


class BadAllowList(GatewayFault):
    """The allow-list file cannot be used at the start."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"The allow-list {path} cannot be used: {why}.")
        self.path = path


class FileAllowList:
    """A file with one device in each line (see `fsm.device_terms`); empty lines and comments are ignored.

    The list that was read last counts. As long as the file cannot be read, nothing is known of other devices;
    a file with a wrong line could be read, so it changes nothing. The file is read by the constructor, and
    later by `reload_if_changed` and `reload`, which one task calls.

    Args:
        timeout: seconds that a read of the file may take.

    Attributes:
        error: why the file could not be read, or not be used at the start; empty if it could.
    """

    is_copy = False

    def __init__(self, path: Path, *, timeout: float = LIST_TIMEOUT) -> None:
        self._path = path
        self._reader = FileReader(str(path), timeout)
        self._devices: dict[str, str] = {}
        self._former: dict[str, str] = {}
        self._stamp: Stamp | None = None
        self.changed = asyncio.Event()
        self.error = ""
        try:
            self._take(self._reader.read_now(self._read))
            self._log()
        except BadLines as error:
            self.error = str(error)
        except UNREADABLE as error:
            self._unavailable(error)

    def look_up(self, imei: str) -> Listed:
        """What the list says of the device."""
        terms = self._devices.get(imei)
        if terms is not None:
            return terms_of(terms)
        return Absence.UNKNOWN if self.error else Absence.NOT_LISTED

    def ask(self, imei: str, done: Done) -> None:
        """The same as `look_up`: the whole file was read."""
        done(self.look_up(imei))

    async def reload_if_changed(self) -> None:
        """Read the file if its stamp has changed."""
        try:
            if self._take(await self._reader.read(self._read_if_changed)):
                self._log()
        except BadLines as error:
            self._wrong(error)
            log.error("allow_list_wrong", path=str(self._path), error=str(error), in_use="the former list")
        except UNREADABLE as error:
            self._unavailable(error)

    async def reload(self) -> int:
        """Read the file even if it has not changed; the number of its devices.

        Raises:
            NotRead, OSError, UnicodeDecodeError: it cannot be read.
            BadLines: a line is wrong; the former list stays in use.
        """
        try:
            self._take(await self._reader.read(self._read))
        except BadLines as error:
            self._wrong(error)
            raise
        except UNREADABLE as error:
            self._unavailable(error)
            raise
        return len(self._devices)

    def _take(self, listing: Listing | None) -> bool:
        """Replace the list; False if there is no new one."""
        self.error = ""
        if listing is None:
            return False
        self._former = self._devices
        self._stamp, self._devices = listing
        self.changed.set()
        return True

    def _wrong(self, error: BadLines) -> None:
        """The file could be read; it is not read again until it changes."""
        self.error = ""
        self._stamp = error.stamp

    def _log(self) -> None:
        log.info("allow_list_read", path=str(self._path), devices=len(self._devices))

    def _unavailable(self, error: Exception) -> None:
        before, self.error = self.error, why_unreadable(error)
        self._stamp = None
        if before != self.error:
            log.error(
                "allow_list_unavailable",
                path=str(self._path),
                error=self.error,
                others="as --allow-list-when-unavailable says",
            )

    # In the thread of the reader

    def _read_if_changed(self) -> Listing | None:
        self._free_former()
        return None if _stamp(os.stat(self._path)) == self._stamp else self._read()

    def _free_former(self) -> None:
        """Free the former list item by item: to free a long one at once would stall the loop."""
        while self._former:
            self._former.popitem()

    def _read(self) -> Listing:
        self._free_former()
        devices: dict[str, str] = {}
        bad: list[tuple[int, str]] = []
        # Only LF, CR and CR LF end a line or a comment; `splitlines` would end it at a form feed, too.
        with open(self._path, encoding="utf-8-sig", opener=regular) as file:
            stamp = _stamp(os.fstat(file.fileno()))
            for number, line in enumerate(file, 1):
                try:
                    _add(devices, read_line(line))
                except BadLine as error:
                    bad.append((number, str(error)))
        if bad:
            raise BadLines(stamp, *bad[0], count=len(bad))
        return Listing(stamp, devices)


def _add(devices: dict[str, str], found: tuple[str, str] | None) -> None:
    """Add a line to the list.

    Raises:
        BadLine: an earlier line says something else of the same device.
    """
    if found is not None and devices.setdefault(*found) != found[1]:
        raise BadLine(f"{found[0]} is in an earlier line, with other terms")


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
        BadAllowList: it cannot be read, or a line is wrong. Later that is only logged.
    """
    if settings.allow_list in (OFF, ANY, REDIS):
        return None
    path = Path(settings.allow_list)
    found = FileAllowList(path)
    if found.error:
        raise BadAllowList(path, found.error.rstrip("."))
    return found
