"""Connections with TLS for simulated trackers, with the files of a device."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path

from transport.connection.tls import BadTlsFiles, load_authority, load_certificate
from transport.simulator.tracker import Streams

IMEI = "{imei}"
"""What stands in the name of a file for the IMEI of a tracker."""


class DeviceTls:
    """Connects trackers with TLS.

    Args:
        address: of the gateway.
        ca: certificates that the gateway's is checked against; None for those of the system.
        cert, key: files of the certificate of a tracker and of its key, which may have `IMEI` in their names;
            empty for no certificate, and for a key in the same file.
        server_name: what the certificate of the gateway has to name; empty for the host of `address`.
    """

    def __init__(
        self, address: tuple[str, int], ca: Path | None, cert: str, key: str, server_name: str
    ) -> None:
        self._address, self._server_name = address, server_name or address[0]
        self._ca, self._cert, self._key = ca, cert, key or cert
        self._one: ssl.SSLContext | None = None
        self._of_each = IMEI in f"{cert}{key}"

    def check(self, imeis: Iterable[str]) -> None:
        """Read the files of each tracker once.

        Raises:
            BadTlsFiles: a file is missing or cannot be used.
        """
        for imei in imeis:
            self._make(imei)
            if not self._of_each:
                return

    async def connect(self, imei: str) -> Streams:
        """A connection of a tracker.

        Raises:
            OSError: there is none, or its files cannot be used any more.
        """
        context = self._context(imei)
        return await asyncio.open_connection(*self._address, ssl=context, server_hostname=self._server_name)

    def _context(self, imei: str) -> ssl.SSLContext:
        try:
            if self._of_each:
                return self._make(imei)
            self._one = self._one or self._make(imei)
        except BadTlsFiles as error:
            raise OSError(str(error)) from error
        return self._one

    def _make(self, imei: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._ca is None:
            context.load_default_certs()
        else:
            load_authority(context, self._ca)
        if self._cert:
            load_certificate(context, *(Path(name.replace(IMEI, imei)) for name in (self._cert, self._key)))
        return context
