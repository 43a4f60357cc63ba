"""The thread that writes the log: what it takes, what it drops, and what it tells of that."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from transport.log_writer import CHUNK, LogWriter

LINE = b"x" * 99 + b"\n"


def notice(count: int) -> bytes:
    return b"lost %d\n" % count


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def read_all(reader: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(reader, size - len(data))
    return data


def test_lines_come_out_in_order_and_the_end_waits_for_them(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    log = LogWriter(descriptor, notice)
    for number in range(100):
        log.write(b"%d\n" % number)
    assert log.close(5.0)
    assert os.read(reader, CHUNK).split() == [b"%d" % number for number in range(100)]
    assert log.dropped == 0


def test_an_unread_log_pipe_has_a_bounded_buffer(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    log = LogWriter(descriptor, notice, buffer=2 * CHUNK)
    begun = time.monotonic()
    for _ in range(10_000):
        log.write(LINE)
    assert not log.close(0.05)
    assert time.monotonic() - begun < 2.0
    lost = log.dropped
    assert 10_000 - 5 * CHUNK // len(LINE) <= lost < 10_000
    data = read_all(reader, (10_000 - lost) * len(LINE))
    assert log.close(5.0)
    told = re.findall(rb"lost (\d+)\n", data + os.read(reader, CHUNK))
    assert sum(map(int, told)) == lost


def test_lines_after_the_end_are_dropped(pipe: tuple[int, int]) -> None:
    log = LogWriter(pipe[1], notice)
    assert log.close(5.0)
    log.write(LINE)
    assert log.dropped == 1


def test_without_a_descriptor_every_line_is_counted() -> None:
    log = LogWriter(None, notice)
    log.write(LINE)
    assert log.close(5.0)
    assert log.dropped == 1


def test_a_descriptor_that_others_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    os.set_blocking(descriptor, False)
    log = LogWriter(descriptor, notice)
    for _ in range(1000):
        log.write(LINE)
    assert read_all(reader, 1000 * len(LINE)) == LINE * 1000
    assert log.close(5.0)
    assert log.dropped == 0


def test_a_line_that_was_cut_short_is_ended_before_the_next(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, descriptor = pipe
    write, calls = os.write, iter(("short", "full"))

    def full_disk(number: int, data: bytes) -> int:
        match next(calls, ""):
            case "short":
                return write(number, bytes(data)[:10])
            case "full":
                raise OSError("no space")
        return write(number, bytes(data))

    monkeypatch.setattr("os.write", full_disk)
    log = LogWriter(descriptor, notice)
    log.write(LINE)
    while not log.dropped:
        time.sleep(0.001)
    log.write(b"next\n")
    assert log.close(5.0)
    assert os.read(reader, CHUNK) == b"x" * 10 + b"\nlost 1\nnext\n"


def test_the_thread_takes_no_signals(pipe: tuple[int, int]) -> None:
    log = LogWriter(pipe[1], notice)
    log.write(LINE)
    os.read(pipe[0], CHUNK)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "log writer"]
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)
    assert blocked & 1 << signal.SIGTERM - 1
    assert log.close(5.0)
