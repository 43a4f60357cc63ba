"""What must not leak: texts of commands, device text as it came, and device identities in metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.request import urlopen

import pytest

from tests.process.gateway import IMEI, KEYS, MAIN, Bus, Device, Gateway, until
from tests.rig.ports import free_port
from transport.teltonika.command import encode_answer
from transport.teltonika.frame import CODEC_12

PASSWORD = "S3cret-Passw0rd"
EVIL = b"Ver:1\r\n\x1b[31mred\x1b]0;owned\x07 \x9b2J"
BIDI = "Ver:1 \u202eevil\u2028line".encode()
PlugIn = Callable[..., Device]


class Overheard(Gateway):
    """A gateway whose log is kept as it was written."""

    text: list[str]
    metrics_port = 0

    def _read(self) -> None:
        self.text = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.text.append(line.decode())
            self.lines.append(json.loads(line))

    def metrics(self) -> str:
        """The page that Prometheus reads."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            text: str = page.read().decode()
            return text


@pytest.fixture
def overhear(gateway_url: str, stack: ExitStack) -> Callable[..., Overheard]:
    def start(**options: object) -> Overheard:
        metrics_port = free_port()
        options = {"log_level": "debug", "metrics": f"127.0.0.1:{metrics_port}"} | options
        gateway = stack.enter_context(Overheard(gateway_url, **options))  # type: ignore[arg-type]
        gateway.metrics_port = metrics_port
        return gateway

    return start


def everything_published(bus: Bus) -> str:
    """All that consumers and other programs see, but for the stream that producers write."""
    keys = [key for key in bus.client.keys("*") if not key.startswith(KEYS.outbound(""))]
    shown = [
        bus.client.xrange(key) if bus.client.type(key) == "stream" else bus.client.hgetall(key)
        for key in keys
        if bus.client.type(key) in ("stream", "hash")
    ]
    return str(shown)


def test_the_text_of_a_command_is_in_no_log_no_event_and_no_metric(
    overhear: Callable[..., Overheard], plug_in: PlugIn, bus: Bus
) -> None:
    gateway = overhear(allow_verbs="setparam,getinfo", max_payload=64)
    device = plug_in(gateway).ready()
    text = f"setparam 2004:{PASSWORD}"
    bus.ask("answered", payload=text)
    assert device.command().payload.decode() == text
    device.answer("OK")
    bus.ended("answered")
    bus.ask("not-allowed", payload=f"{PASSWORD} getinfo")
    bus.ask("too-long", payload=text + "x" * 64)
    bus.ask("not-ascii", payload=f"{text}\x1b")
    bus.ask("bad-field", payload=text, codec=PASSWORD)
    bus.ask("bad-time", payload=text, expires_at=PASSWORD)
    bus.ask("expired", payload=text, expires_at="2020-01-01T00:00:00Z")
    bus.ask(
        "elsewhere", payload=text, imei="352093081452259", expires_at=str(round(time.time() * 1000) + 200)
    )
    bus.ask("no id at all", payload=text)
    bus.raw({"command": text, text: "payload"})
    for name in ("not-allowed", "too-long", "not-ascii", "bad-field", "bad-time", "expired", "elsewhere"):
        bus.ended(name)
    bus.ask("never-answered", payload=text, response_timeout="0.2")
    device.command()
    bus.ended("never-answered")
    until(lambda: bus.client.xlen(KEYS.deadletter) == 2)
    bus.ask("at-the-end", payload=text)
    metrics = gateway.metrics()
    gateway.terminate()
    assert gateway.exit_status() == 0
    gateway.kill()
    assert len(gateway.text) > 10
    for shown in ("".join(gateway.text), everything_published(bus), metrics):
        assert PASSWORD not in shown
        assert PASSWORD.encode().hex() not in shown
    assert "command_id=" not in metrics


def test_no_device_is_a_label_of_a_metric(
    overhear: Callable[..., Overheard], plug_in: PlugIn, bus: Bus
) -> None:
    gateway = overhear()
    device = plug_in(gateway).ready()
    bus.ask("c-1")
    device.obey()
    bus.ended("c-1")
    metrics = gateway.metrics()
    assert 'teltonika_command_events_total{delivery="answered"' in metrics
    for secret in (IMEI, "c-1", gateway.instance_id, "127.0.0.1"):
        assert secret not in metrics


def test_what_a_device_wrote_is_never_raw_in_a_line_of_the_log(
    overhear: Callable[..., Overheard], plug_in: PlugIn, bus: Bus
) -> None:
    gateway = overhear()
    device = plug_in(gateway).ready()
    for number, text in enumerate((EVIL, BIDI)):
        device.send(encode_answer(CODEC_12, IMEI, text))  # nobody has asked for it
        bus.ask(f"c-{number}")
        device.send(encode_answer(device.command().codec, IMEI, text))
        assert bus.ended(f"c-{number}")[-1] == "responded answered"
    gateway.terminate()
    gateway.exit_status()
    gateway.kill()
    assert gateway.text
    for line in gateway.text:
        assert line.endswith("\n")
        assert line[:-1].isprintable()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_a_device_wrote_is_never_raw_in_what_watch_prints(
    overhear: Callable[..., Overheard], plug_in: PlugIn, bus: Bus, redis_url: str, options: tuple[str, ...]
) -> None:
    device = plug_in(overhear()).ready()
    texts = (b"one\r\ntwo\tthree", EVIL, BIDI)
    for number, text in enumerate(texts):
        bus.ask(f"c-{number}")
        device.command()
        device.send(encode_answer(CODEC_12, IMEI, text))
        bus.ended(f"c-{number}")
    words = ["watch", "--from", "0", "--redis", redis_url, *options]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "500"},
    ) as watch:
        assert watch.stdout
        lines: list[str] = []
        while sum("responded" in line for line in lines) < len(texts):
            lines.append(watch.stdout.readline().decode())
            assert lines[-1], "watch has ended"
        watch.terminate()
    for line in lines:
        assert line[:-1].isprintable(), line
    assert r"one\r\ntwo\tthree" in "".join(lines)
    until(lambda: watch.poll() is not None)
