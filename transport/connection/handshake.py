"""A connection until its device is let in: the handshake, the allow-list, and the byte that says yes."""

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
"""Seconds that `01` waits for the registration, so that whoever sees the device's first byte finds it in the
registry, and a device that another instance holds with TLS is sent away before anything of this one is taken.
A device waits for seconds; while Redis is slow or away it is accepted all the same. What it sends before it
has read `01` is not looked at until then."""


class HandshakeConnection(DeviceLink):
    """A device that has to say who it is before anything else of it is read."""

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
            self._early += data  # it has not been greeted
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
        """A device has named itself: it is let in, sent away, or waits until the allow-list is asked."""
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
        """The device has TLS at another instance. Before that was known it may have been greeted."""
        if self.closed and not self.half_closed:
            return
        self._sessions.plain_refused(self.imei, self.peer, holder)
        if not self._greeted:
            self._greeted = True
            self._transport.write(REJECT)
        self.close(REJECTED)
        self._transport.close()  # of one that is half closed

    def _finish(self) -> None:
        """Close the connection if the device has closed its side and has got all that it is owed."""
        raise NotImplementedError

    def _read(self, data: bytes) -> None:
        """What the device sends once it is let in."""
        raise NotImplementedError
