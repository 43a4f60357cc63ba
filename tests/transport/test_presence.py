"""How a process on the same host proves that another has ended, and when it does not try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from store.fleet.ownership import Holder
from tests.process.gateway import until
from transport.daemon import presence
from transport.daemon.presence import Presence, is_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

SHOWS_ITSELF = """
from transport.daemon.presence import Presence
shown = Presence("boot")
shown.open()
print(shown.describe(1.0).place, flush=True)
input()
"""


@contextmanager
def process(*prefix: str) -> Iterator[tuple[subprocess.Popen[str], Holder]]:
    """Another process that shows its presence."""
    command = [*prefix, sys.executable, "-c", SHOWS_ITSELF]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        place = other.stdout.readline().strip()
        if not place:
            other.kill()
            pytest.skip(f"{prefix} is not allowed here")
        try:
            yield other, Holder("boot", place=place)
        finally:
            other.kill()


def test_a_killed_process_is_gone_and_a_stopped_one_is_not() -> None:
    with process() as (other, holder):
        assert not is_gone(holder)
        other.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        assert not is_gone(holder)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert is_gone(holder)


def test_a_process_in_another_namespace_is_unknown() -> None:
    with process("unshare", "--net") as (other, holder):
        assert not is_gone(holder)
        other.kill()
        other.wait()
        assert not is_gone(holder)


def test_a_process_one_of_another_container_is_identified_by_its_place() -> None:
    """Both are process 1 of a host of one name, and share the network, as the containers of a pod do."""
    with process("unshare", "--pid", "--fork", "--kill-child") as (other, holder):
        assert not is_gone(holder)
        other.kill()
        until(lambda: is_gone(holder), "the end of the process in the container")


def test_a_presence_ends_when_it_is_closed() -> None:
    shown = Presence("closed")
    shown.open()
    holder = shown.describe(30.0)
    assert (holder.pid, holder.interval, is_gone(holder)) == (os.getpid(), 30.0, False)
    shown.close()
    assert is_gone(holder)
    assert shown.describe(30.0).place == ""


@pytest.mark.parametrize("place", ["", "another kernel/1"])
def test_nothing_is_concluded_about_another_place(place: str) -> None:
    assert not is_gone(Holder("nobody", place=place))


def test_without_a_runtime_directory_nothing_is_concluded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = Holder("nobody", place=presence.place())
    assert is_gone(here)
    monkeypatch.setattr(presence, "BOOT", tmp_path / "none")
    assert not is_gone(here)
    assert not is_gone(replace(here, place=""))
    shown = Presence("nowhere")
    shown.open()
    assert shown.describe(1.0).place == ""


@pytest.mark.parametrize("boot_id", ["x" * 200, "\0", "\ud800"])
def test_a_name_that_no_socket_can_have_proves_nothing(boot_id: str) -> None:
    assert not is_gone(Holder(boot_id, place=presence.place())) or boot_id == "\0"
