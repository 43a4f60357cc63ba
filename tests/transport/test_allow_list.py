"""Who is let in: the list in a file, and what a device sees of the list's word."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from structlog.testing import capture_logs

from fsm.reasons import HANDSHAKE_TIMEOUT, REJECTED
from fsm.registration import Registered, RegisterResult
from tests.transport.command_rig import IMEI, OTHER_IMEI
from tests.transport.connection_rig import FRAME, ConnectionRig
from transport.connection.allow_list import AccessControl, BadAllowList, FileAllowList, file_list
from transport.connection.file_reader import NotRead
from transport.log_throttle import REMEMBERED
from transport.metrics import Metrics
from transport.settings import Settings
from transport.teltonika.handshake import REJECT, encode_handshake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.txt"
    path.write_text(f"# our fleet\n\n  {IMEI}  # the van\n")
    return path


class Asked:
    """A list that has to be asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Callable[[bool], None]]] = []

    def allows(self, imei: str) -> bool | None:
        return None

    def ask(self, imei: str, done: Callable[[bool], None]) -> None:
        self.waiting.append((imei, done))

    async def reload(self) -> int:
        return 0


def gated(frozen: FrozenDateTimeFactory, allow_list: FileAllowList | Asked) -> ConnectionRig:
    connections = ConnectionRig(frozen)
    connections.context.access = AccessControl(allow_list, connections.commands.metrics)
    return connections


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"teltonika_{name}", labels) or 0.0


# The file


def test_a_device_of_the_file_is_allowed_and_no_other(file: Path) -> None:
    devices = FileAllowList(file, when_unavailable=False)
    assert devices.allows(IMEI)
    assert not devices.allows(OTHER_IMEI)


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    devices = FileAllowList(file, when_unavailable=False)
    file.write_text(f"{IMEI}\n{OTHER_IMEI}\n")
    assert not devices.allows(OTHER_IMEI)
    asyncio.run(devices.reload_if_changed())
    assert devices.allows(OTHER_IMEI)
    file.write_text("")
    asyncio.run(devices.reload_if_changed())
    assert not devices.allows(IMEI)


def test_a_file_that_did_not_change_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = FileAllowList(file, when_unavailable=False)
    monkeypatch.setattr(devices, "_read", lambda: pytest.fail("it was read again"))
    asyncio.run(devices.reload_if_changed())
    assert devices.allows(IMEI)


def test_a_replaced_file_is_read_whatever_its_time(file: Path, tmp_path: Path) -> None:
    devices, stat = FileAllowList(file, when_unavailable=False), file.stat()
    newer = tmp_path / "newer"
    newer.write_text(file.read_text().replace(IMEI, OTHER_IMEI))
    os.utime(newer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    newer.replace(file)
    asyncio.run(devices.reload_if_changed())
    assert (devices.allows(IMEI), devices.allows(OTHER_IMEI)) == (False, True)


@pytest.mark.parametrize(
    "bad", ["35209308145225", "3520930814522511", "٣52093081452251", IMEI + ",x", "x" * 15]
)
def test_an_invalid_line_is_logged_and_the_others_count(file: Path, bad: str) -> None:
    file.write_text(f"{bad}\r\n{IMEI}\r\n", encoding="utf-8")
    with capture_logs() as logs:
        devices = FileAllowList(file, when_unavailable=False)
    assert devices.allows(IMEI)
    [ignored] = [line for line in logs if line["event"] == "allow_list_lines_ignored"]
    assert (ignored["lines"], ignored["count"]) == ([1], 1)


@pytest.mark.parametrize("policy", ["closed", "open"])
def test_a_file_that_was_never_there_is_an_error_at_the_start(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "none"
    settings = Settings(instance_id="gw-1", allow_list=str(path), allow_list_when_unavailable=policy)
    with pytest.raises(BadAllowList, match=f"{path} cannot be read: No such file"):
        file_list(settings)


@pytest.mark.parametrize("policy", [False, True])
def test_a_removed_file_is_remembered_and_the_policy_decides(file: Path, policy: bool) -> None:
    devices = FileAllowList(file, when_unavailable=policy)
    text = file.read_text()
    file.unlink()
    with capture_logs() as logs:
        asyncio.run(devices.reload_if_changed())
        asyncio.run(devices.reload_if_changed())
    assert (devices.allows(IMEI), devices.allows(OTHER_IMEI)) == (True, policy)
    assert len(logs) == 1
    file.write_text(text)
    asyncio.run(devices.reload_if_changed())
    assert (devices.allows(IMEI), devices.allows(OTHER_IMEI)) == (True, False)


def test_a_file_that_is_not_text_counts_as_unavailable(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with capture_logs() as logs:
        devices = FileAllowList(file, when_unavailable=False)
    assert not devices.allows(IMEI)
    assert logs[0]["error"] == "not UTF-8"


def test_a_pipe_is_no_list_and_delays_no_device(file: Path) -> None:
    devices = FileAllowList(file, when_unavailable=False)
    file.unlink()
    os.mkfifo(file)
    with capture_logs() as logs:
        asyncio.run(devices.reload_if_changed())
    assert [(line["event"], line["error"]) for line in logs] == [
        ("allow_list_unavailable", "not a regular file")
    ]
    assert (devices.allows(IMEI), devices.allows(OTHER_IMEI)) == (True, False)


def test_a_hanging_file_system_counts_as_unavailable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = FileAllowList(file, when_unavailable=False, timeout=0.05)
    answers, real = threading.Event(), os.stat
    monkeypatch.setattr(os, "stat", lambda *given, **more: answers.wait() and real(*given, **more))
    with capture_logs() as logs:
        for _ in range(2):
            asyncio.run(devices.reload_if_changed())
    assert [line["event"] for line in logs] == ["allow_list_unavailable"]
    assert logs[0]["error"] == f"{file} could not be read within 0.05 s."
    assert devices.allows(IMEI)
    answers.set()
    assert asyncio.run(recovered(devices)) == 1


async def recovered(devices: FileAllowList) -> int:
    """Read the list as soon as the thread that hung has ended; how many devices it names."""
    while True:
        try:
            return await devices.reload()
        except NotRead:
            await asyncio.sleep(0.001)


def test_without_the_option_there_is_no_list() -> None:
    settings = Settings(instance_id="gw-1")
    assert file_list(settings) is None
    assert file_list(replace(settings, allow_list="redis")) is None
    assert AccessControl(None, Metrics()).allows(IMEI)


# The device


async def test_a_device_of_the_list_is_identified(frozen: FrozenDateTimeFactory, file: Path) -> None:
    connections = gated(frozen, FileAllowList(file, when_unavailable=False))
    connection, transport = connections.identify(IMEI)
    assert connection.imei == IMEI
    assert transport.written == []  # the 01 waits for the registration
    assert [imei for imei, _ in connections.registrar.registered] == [IMEI]


async def test_a_refused_device_gets_00_and_leaves_no_trace(
    frozen: FrozenDateTimeFactory, file: Path
) -> None:
    connections = gated(frozen, FileAllowList(file, when_unavailable=False))
    with capture_logs() as logs:
        connection, transport = connections.identify(OTHER_IMEI)
        connection.data_received(FRAME)
        connection.connection_lost(None)
    assert transport.written == [REJECT]
    assert (transport.closing, transport.aborted) == (True, False)
    assert (connection.imei, connection.close_reason) == ("", REJECTED)
    assert (
        connections.registrar.registered,
        connections.registrar.unregistered,
        connections.session_log,
    ) == ([], [], [])
    assert (
        connections.telemetry.batches,
        connections.sessions.by_imei,
        connections.sessions.unidentified,
    ) == ([], {}, set())
    assert connections.sessions.connected == 0
    assert [(line["event"], line["imei"]) for line in logs] == [("device_refused", OTHER_IMEI)]
    assert counted(connections.commands.metrics, "devices_refused_total") == 1
    assert counted(connections.commands.metrics, "sessions_closed_total", reason=REJECTED) == 1


async def test_a_device_is_not_read_during_its_look_up(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.accept()
    connection.data_received(encode_handshake(IMEI))
    assert (transport.paused, transport.written, connections.sessions.by_imei) == (True, [], {})
    connection.data_received(FRAME[:5])
    connection.data_received(FRAME[5:])  # what the event loop had read already
    [(imei, done)] = asked.waiting
    assert imei == IMEI
    done(True)
    connection.registered(RegisterResult(Registered.REGISTERED))
    await asyncio.sleep(0)
    assert not transport.paused
    assert list(connections.sessions.by_imei) == [IMEI]
    assert len(connections.telemetry.batches) == 1


async def test_a_device_that_was_asked_for_and_is_not_named_is_refused(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.identify()
    asked.waiting[0][1](False)
    assert (transport.written, connection.close_reason) == ([REJECT], REJECTED)
    assert connections.registrar.registered == []


async def test_an_answer_for_a_closed_connection_changes_nothing(frozen: FrozenDateTimeFactory) -> None:
    asked = Asked()
    connections = gated(frozen, asked)
    connection, transport = connections.identify()
    connections.at(10)
    assert connection.close_reason == HANDSHAKE_TIMEOUT
    asked.waiting[0][1](True)
    assert (connections.sessions.by_imei, transport.written) == ({}, [])


# The log


def test_a_refusal_is_logged_once_a_minute_for_each_device() -> None:
    gate = AccessControl(None, Metrics())
    with capture_logs() as logs:
        for now in (0.0, 1.0, 59.9, 60.0, 119.0, 120.0):
            gate.refused(IMEI, "10.0.0.1:1", now)
        gate.refused(OTHER_IMEI, "10.0.0.1:1", 120.0)
    assert [line["imei"] for line in logs] == [IMEI, IMEI, IMEI, OTHER_IMEI]


def test_invented_imeis_fill_neither_the_memory_nor_the_log() -> None:
    metrics = Metrics()
    gate = AccessControl(None, metrics)
    with capture_logs() as logs:
        for number in range(3 * REMEMBERED):
            gate.refused(f"{number:015}", "10.0.0.1:1", 1.0)
        assert len(logs) == REMEMBERED
        gate.refused(IMEI, "10.0.0.1:1", 61.0)
    assert len(logs) == REMEMBERED + 1
    assert counted(metrics, "devices_refused_total") == 3 * REMEMBERED + 1
