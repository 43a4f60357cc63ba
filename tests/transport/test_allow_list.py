"""The allow-list in a file."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fsm.device_terms import Absence, Terms
from tests.transport.command_rig import IMEI, OTHER_IMEI
from transport.connection.allow_list import BadAllowList, BadLines, FileAllowList, file_list
from transport.connection.file_reader import NotRead
from transport.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.txt"
    path.write_text(f"# our fleet\n\n  {IMEI}  # the van\n")
    return path


# The file


def test_a_device_of_the_file_is_allowed_and_no_other(file: Path) -> None:
    devices = FileAllowList(file)
    assert devices.look_up(IMEI) == Terms()
    assert devices.look_up(OTHER_IMEI) is Absence.NOT_LISTED


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    devices = FileAllowList(file)
    file.write_text(f"{IMEI}\n{OTHER_IMEI}\n")
    assert devices.look_up(OTHER_IMEI) is Absence.NOT_LISTED
    asyncio.run(devices.reload_if_changed())
    assert devices.look_up(OTHER_IMEI) == Terms()
    file.write_text("")
    asyncio.run(devices.reload_if_changed())
    assert devices.look_up(IMEI) is Absence.NOT_LISTED


def test_a_file_that_did_not_change_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = FileAllowList(file)
    monkeypatch.setattr(devices, "_read", lambda: pytest.fail("it was read again"))
    asyncio.run(devices.reload_if_changed())
    assert devices.look_up(IMEI) == Terms()


def test_a_replaced_file_is_read_whatever_its_time(file: Path, tmp_path: Path) -> None:
    devices, stat = FileAllowList(file), file.stat()
    newer = tmp_path / "newer"
    newer.write_text(file.read_text().replace(IMEI, OTHER_IMEI))
    os.utime(newer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    newer.replace(file)
    asyncio.run(devices.reload_if_changed())
    assert (devices.look_up(IMEI), devices.look_up(OTHER_IMEI)) == (Absence.NOT_LISTED, Terms())


WRONG = {
    "35209308145225": "'35209308145225' is not an IMEI of 15 digits",
    "3520930814522511": "'3520930814522511' is not an IMEI",
    "٣52093081452251": "is not an IMEI",
    f"{IMEI},x": "is not an IMEI",
    "x" * 60: f"'{'x' * 40}...' is not an IMEI",
    f"{IMEI} 10.0.0.1/8": "'10.0.0.1/8' is neither a network such as 10.0.0.0/8 nor cert=SHA256",
    f"{IMEI} {OTHER_IMEI}": "is neither a network",
    f"{IMEI} cert=5a": "'cert=5a' is not cert= and the 64 hexadecimal digits of a SHA-256",
    f"{IMEI} 10.0.0.0/8": f"{IMEI} is in an earlier line, with other terms",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_named_and_the_former_list_stays(file: Path, line: str) -> None:
    devices = FileAllowList(file)
    file.write_text(f"{OTHER_IMEI}\r\n{IMEI}\r\n{line}\r\n{line}\r\n", encoding="utf-8")
    with capture_logs() as logs:
        asyncio.run(devices.reload_if_changed())
        asyncio.run(devices.reload_if_changed())
    assert [(told["event"], told["log_level"]) for told in logs] == [("allow_list_wrong", "error")]
    assert logs[0]["error"].startswith("line 3: ")
    assert WRONG[line] in logs[0]["error"]
    assert logs[0]["error"].endswith(", and 1 more lines are wrong")
    assert (devices.look_up(IMEI), devices.look_up(OTHER_IMEI)) == (Terms(), Absence.NOT_LISTED)
    with pytest.raises(BadLines, match="line 3"):
        asyncio.run(devices.reload())
    settings = Settings(instance_id="gw-1", allow_list=str(file))
    with pytest.raises(BadAllowList, match=f"The allow-list {file} cannot be used: line 3: "):
        file_list(settings)


def test_a_line_says_what_its_device_has_to_show(file: Path) -> None:
    colons = ":".join("5A" for _ in range(32))
    file.write_text(f"{IMEI}  10.0.0.0/8\tfd00::/8 cert={colons} CERT={'0' * 64} # the van\n{OTHER_IMEI}\n")
    devices = FileAllowList(file)
    networks = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert devices.look_up(IMEI) == Terms(networks, (f"cert:{'5a' * 32}", f"cert:{'0' * 64}"))
    assert devices.look_up(OTHER_IMEI) == Terms()


@pytest.mark.parametrize("policy", ["closed", "open"])
def test_a_file_that_was_never_there_is_an_error_at_the_start(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "none"
    settings = Settings(instance_id="gw-1", allow_list=str(path), allow_list_when_unavailable=policy)
    with pytest.raises(BadAllowList, match=f"{path} cannot be used: No such file"):
        file_list(settings)


def test_a_removed_file_is_remembered_and_others_are_unknown(file: Path) -> None:
    devices = FileAllowList(file)
    text = file.read_text()
    file.unlink()
    with capture_logs() as logs:
        asyncio.run(devices.reload_if_changed())
        asyncio.run(devices.reload_if_changed())
    assert (devices.look_up(IMEI), devices.look_up(OTHER_IMEI)) == (Terms(), Absence.UNKNOWN)
    assert len(logs) == 1
    file.write_text(text)
    asyncio.run(devices.reload_if_changed())
    assert (devices.look_up(IMEI), devices.look_up(OTHER_IMEI)) == (Terms(), Absence.NOT_LISTED)


def test_a_file_that_is_not_text_counts_as_unavailable(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with capture_logs() as logs:
        devices = FileAllowList(file)
    assert devices.look_up(IMEI) is Absence.UNKNOWN
    assert logs[0]["error"] == "not UTF-8"


def test_a_pipe_is_no_list_and_delays_no_device(file: Path) -> None:
    devices = FileAllowList(file)
    file.unlink()
    os.mkfifo(file)
    with capture_logs() as logs:
        asyncio.run(devices.reload_if_changed())
    assert [(line["event"], line["error"]) for line in logs] == [
        ("allow_list_unavailable", "not a regular file")
    ]
    assert (devices.look_up(IMEI), devices.look_up(OTHER_IMEI)) == (Terms(), Absence.UNKNOWN)


def test_a_hanging_file_system_counts_as_unavailable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = FileAllowList(file, timeout=0.05)
    answers, real = threading.Event(), os.stat
    monkeypatch.setattr(os, "stat", lambda *given, **more: answers.wait() and real(*given, **more))
    with capture_logs() as logs:
        for _ in range(2):
            asyncio.run(devices.reload_if_changed())
    assert [line["event"] for line in logs] == ["allow_list_unavailable"]
    assert logs[0]["error"] == f"{file} could not be read within 0.05 s."
    assert devices.look_up(IMEI) == Terms()
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
