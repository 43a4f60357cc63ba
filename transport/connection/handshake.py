"""The handshake of a connection: the IMEI, the allow-list, the registration, and the byte `01`.

Nothing else of a device is read before `01` is written. Four things may come first: the connection waits for
its turn to be read, its IMEI is incomplete, the allow-list is being asked, or the registration is under way.
What the event loop has read meanwhile is kept (`_early`) and handled after `01`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from fsm.reasons import PROTOCOL_ERROR, REJECTED
from fsm.registration import Registered, RegisterResult
from transport.connection.link import DeviceLink
from transport.connection.sessions import Sessions
from transport.teltonika.errors import BadHandshake
from transport.teltonika.handshake import ACCEPT, REJECT, HandshakeReader

GREETING_PATIENCE = 0.05
"""Seconds that `01` waits for the registration. So a device that has received it is in the registry, and a
device that another instance holds with TLS is rejected before anything is read. Devices wait for seconds;
while Redis is slow or away they are accepted all the same."""


class HandshakeConnection(DeviceLink):
    """A connection whose device has to be identified and accepted before its frames are read."""

    __slots__ = ("_early", "_greeted", "_handshake")

    def __init__(self, sessions: Sessions, *, secure: bool = False) -> None:
        super().__init__(sessions, secure=secure)
        self._early = b""  # read while the connection waits, for its turn to be read or for its greeting
        self._greeted = False
        self._handshake: HandshakeReader | None = HandshakeReader()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        sessions = self._sessions
        flow = sessions.flow
        self.last_read = sessions.now
        if flow.in_turns and (flow.holds(self) or sessions.backlog.full):
            self._early += data
            flow.wait(self)
        elif self._greeted:
            self._read(data)
        elif self._handshake is None:
            self._early += data  # `01` is not written yet
            self.pause()
        elif self._handshake.complete:
            self._handshake.rest += data  # the allow-list is still being asked
            self.pause()
        else:
            self._introduce(data)

    def resume(self) -> None:
        """Read on, unless there is a reason not to."""
        asking = not self._greeted and (self._handshake is None or self._handshake.complete)
        if self.closed or asking or self._sessions.flow.holds(self):
            return
        self._transport.resume_reading()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _introduce(self, data: bytes) -> None:
        assert self._handshake is not None
        try:
            imei = self._handshake.feed(data)
        except BadHandshake as error:
            self._reject(error)
            return
        if imei is not None:
            self._present(imei)

    def _present(self, imei: str) -> None:
        """The IMEI is known: accept or reject it, or ask the allow-list first."""
        allowed = self._sessions.gate.allows(imei)
        if allowed is None:
            self.pause()
            self._sessions.gate.ask(imei, partial(self._judged, imei))
        else:
            self._judge(imei, allowed)

    def _judged(self, imei: str, allowed: bool) -> None:
        if not self.closed:
            self._judge(imei, allowed)
            self.resume()

    def _judge(self, imei: str, allowed: bool) -> None:
        assert self._handshake is not None
        if not allowed:
            self._sessions.gate.refused(imei, self.peer, self._sessions.now)
            self._transport.write(REJECT)
            self.close(REJECTED)
            return
        if not self.secure and (holder := self._sessions.secure_peer(imei)):
            self._sessions.plain_refused(imei, self.peer, holder)
            self._transport.write(REJECT)
            self.close(REJECTED)
            return
        rest, self._handshake = self._handshake.rest, None
        self._identify(imei)
        if rest:
            self.data_received(rest)

    def _reject(self, error: BadHandshake) -> None:
        self._sessions.no_device(self, error.reason)
        self._transport.write(REJECT)
        self.close(PROTOCOL_ERROR)

    def _identify(self, imei: str) -> None:
        self.imei = imei
        self.advance("identify")
        self._due_in(self._sessions.settings.ready_grace)
        self._sessions.identified(self)
        asyncio.get_running_loop().call_later(GREETING_PATIENCE, self._welcome)

    def _greet(self) -> None:
        if not self._greeted and (self.half_closed or not self.closed):
            self._greeted = True
            self._write(ACCEPT)
            asyncio.get_running_loop().call_soon(self.resume)

    def _welcome(self) -> None:
        self._greet()
        self._finish()

    def registered(self, result: RegisterResult) -> None:
        self.speaks = self.speaks or result.speaks
        if result.status is Registered.INSECURE:
            self._turn_back(result.holder)
        else:
            self._welcome()

    def _turn_back(self, holder: str) -> None:
        """Another instance holds the device with TLS. `01` may have been written before that was known."""
        if self.closed and not self.half_closed:
            return
        self._sessions.plain_refused(self.imei, self.peer, holder)
        if not self._greeted:
            self._greeted = True
            self._transport.write(REJECT)
        self.close(REJECTED)
        self._transport.close()  # of one that is half closed

    def _finish(self) -> None:
        """Close a half-closed connection once everything is acknowledged."""
        raise NotImplementedError

    def _read(self, data: bytes) -> None:
        """Handle what the device sends after the handshake."""
        raise NotImplementedError
