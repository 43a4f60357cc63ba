"""The gateway as a process, devices as sockets, and producers as clients of Redis."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from store.keys import GROUP, Keys
from transport.simulator.downlink import Downlink
from transport.teltonika.command import Message, encode_answer, encode_nack
from transport.teltonika.frame import CODEC_12
from transport.teltonika.handshake import encode_handshake

KEYS = Keys()
IMEI = "352093081452251"
TIME_LIMIT = 15.0
MAIN = "from transport.cli import main; main()"
TELEMETRY = bytes.fromhex(
    "000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F10000601A01"
    "4E0000000000000000010000C7CF"
)
"""The example of codec 8 in Teltonika's wiki: one record."""
T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str = "", within: float = TIME_LIMIT) -> T:
    """Wait for `condition` to yield something, and return that: the only place where tests wait."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"It did not come to pass within {within} s: {what or condition}")


def clean_environment() -> dict[str, str]:
    """The environment of the tests, without what would be taken for options."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TELGW_")}


class Gateway:
    """A gateway process. A context manager: leaving it kills what is left of the process.

    Attributes:
        lines: what it logged, each line a dictionary.
        port: where devices connect, once it is ready.
        alarming: events that its log must not have.
        main: the program of the process.
        before: words of a command line that come before those of the process itself.
        environment: variables that it has beyond those of the tests.
    """

    alarming: Collection[str] = ("no JSON", "task_failed")
    main = MAIN
    before: Sequence[str] = ()
    environment: Mapping[str, str] = MappingProxyType({})

    def __init__(self, redis: str, instance_id: str = "gw-1", *, ready: bool = True, **options: Any) -> None:
        given = {"listen": "127.0.0.1:0", "metrics": "off", "redis": redis, "instance_id": instance_id}
        arguments = [
            part
            for name, value in (given | options).items()
            for one in (value if isinstance(value, list) else [value])
            for part in (f"--{name.replace('_', '-')}", *(() if one is True else (str(one),)))
        ]
        self.instance_id = instance_id
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [*self.before, sys.executable, "-c", self.main, "run", *arguments],
            stderr=subprocess.PIPE,
            env=clean_environment() | self.environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0
        if ready:
            self.port = self.said("ready")["listen"][0].rpartition(":")[2]

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"event": "no JSON", "line": line.decode(errors="replace")})

    def said(self, event: str, **facts: Any) -> dict[str, Any]:
        """Wait for a line of the log."""

        def find() -> dict[str, Any] | None:
            for line in list(self.lines):
                if line["event"] == event and facts.items() <= line.items():
                    return line
            assert self.process.poll() is None, self.lines
            return None

        return until(find, f"the line {event!r}")

    def said_before(self, event: str) -> bool:
        """Whether a line of the log has come already; of an ended process every line has."""
        if self.process.poll() is not None:
            self._reader.join(TIME_LIMIT)
        return any(line["event"] == event for line in self.lines)

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        """Wait for its end."""
        return self.process.wait(TIME_LIMIT)

    def kill(self) -> None:
        """SIGKILL, if it lives, and let go of its pipe."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIME_LIMIT)
        self._reader.join(TIME_LIMIT)
        assert self.process.stderr is not None
        self.process.stderr.close()
        strange = [line for line in self.lines if line["event"] in self.alarming]
        assert strange == [], strange


class Device:
    """A tracker, byte by byte. A context manager: leaving it closes its socket."""

    def __init__(self, gateway: Gateway, imei: str = IMEI, sock: socket.socket | None = None) -> None:
        self.imei = imei
        self.socket = sock or socket.create_connection(("127.0.0.1", int(gateway.port)), TIME_LIMIT)
        self.texts: list[str] = []
        self._downlink = Downlink()
        self._items: deque[int | tuple[Message, bytes]] = deque()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self.socket.sendall(data)

    def hello(self) -> Device:
        """Say who it is, and be accepted."""
        self.send(encode_handshake(self.imei))
        assert self.socket.recv(1) == b"\x01"
        return self

    def ready(self) -> Device:
        """Say who it is and have a first frame acknowledged: from now on it gets commands."""
        self.hello().report()
        return self

    def report(self, frame: bytes = TELEMETRY, count: int = 1) -> None:
        """Send records and read their acknowledgement."""
        self.send(frame)
        assert self._next() == count

    def command(self) -> Message:
        """Read a command."""
        item = self._next()
        assert isinstance(item, tuple), item
        self.texts.append(item[0].payload.decode())
        return item[0]

    def answer(self, text: str = "OK", codec: int = CODEC_12) -> None:
        """Answer a command."""
        self.send(encode_answer(codec, self.imei, text.encode()))

    def nack(self) -> None:
        """Refuse a codec 14 command."""
        self.send(encode_nack(self.imei))

    def obey(self) -> str:
        """Read a command and answer it with its own text; the text."""
        message = self.command()
        self.answer(self.texts[-1], message.codec)
        return self.texts[-1]

    def silent(self, within: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(within)
        try:
            self._items.extend(self._downlink.feed(self.socket.recv(4096)))
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(TIME_LIMIT)
        return not self._items

    def rest(self) -> bytes:
        """Everything until the gateway closes the connection."""
        data = b""
        try:
            while piece := self.socket.recv(4096):
                data += piece
        except ConnectionError:
            pass
        return data

    def _next(self) -> int | tuple[Message, bytes]:
        while not self._items:
            data = self.socket.recv(4096)
            assert data, "the gateway closed the connection"
            self._items.extend(self._downlink.feed(data))
        return self._items.popleft()


class Bus:
    """What producers and consumers do with Redis."""

    def __init__(self, url: str) -> None:
        self.client: Any = Redis.from_url(url, protocol=2, decode_responses=True)

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, command_id: str, imei: str = IMEI, to: str = "gw-1", **fields: str | bytes) -> str:
        """Ask for a command whose text is its id."""
        entry = {"command_id": command_id, "imei": imei, "payload": command_id} | fields
        return self.raw(entry, to)

    def raw(self, fields: dict[Any, Any], to: str = "gw-1") -> str:
        """Append any entry to a gateway's stream."""
        entry_id: str = self.client.xadd(KEYS.outbound(to), fields)
        return entry_id

    def cancel(self, command_id: str, to: str = "gw-1") -> str:
        """Call a command off."""
        return self.raw({"command_id": command_id, "type": "cancel"}, to)

    def log(self, kind: str) -> list[dict[str, str]]:
        """The entries of the log of one kind."""
        return [fields for _, fields in self.client.xrange(KEYS.responses) if fields["kind"] == kind]

    def events(self, command_id: str) -> list[dict[str, str]]:
        """The events of a command."""
        return [fields for fields in self.log("command") if fields["command_id"] == command_id]

    def life(self, command_id: str) -> list[str]:
        """The history of a command: ``state [reason] delivery`` of each event; its numbers have no gap."""
        events = self.events(command_id)
        assert [event["seq"] for event in events] == [str(number + 1) for number in range(len(events))]
        return [" ".join(filter(None, (e["state"], e["reason"], e["delivery"]))) for e in events]

    def ended(self, command_id: str) -> list[str]:
        """Wait for a command's verdict; its history."""
        until(lambda: any(e["terminal"] == "1" for e in self.events(command_id)), f"the end of {command_id}")
        return self.life(command_id)

    def reached(self, command_id: str, state: str) -> None:
        """Wait until a command has come to `state`."""
        until(lambda: state in [e["state"] for e in self.events(command_id)], f"{command_id} {state}")

    def note(self, name: str) -> dict[str, str]:
        """Wait for a note."""
        return until(lambda: next((n for n in self.log("note") if n["note"] == name), None), name)

    def holder(self, imei: str = IMEI) -> str | None:
        """The instance that holds a device."""
        holder: str | None = self.client.hget(KEYS.registry, imei)
        return holder

    def empty(self, instance_id: str = "gw-1") -> None:
        """Wait until nothing is pending or unread on an instance's stream."""
        stream = KEYS.outbound(instance_id)

        def is_empty() -> bool:
            return not self.client.xlen(stream) and not self.client.xpending(stream, GROUP)["pending"]

        until(is_empty, f"an empty stream of {instance_id}")

    def answers(self) -> bool:
        """Whether the server is there."""
        try:
            return bool(self.client.ping())
        except RedisError:
            return False
