"""The servers that are measured: how they start, the CPU time they have used, their memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from fsm.errors import GatewayFault
from store.embedded import die_with

Cores = Collection[int]
LOOPBACK = "127.0.0.1"
START_WITHIN, STOP_WITHIN = 60.0, 10.0
"""Seconds."""
_GATEWAY = (sys.executable, "-P", "-c", "from transport.cli import main; main()", "run")
_OPEN_TO_ALL = (
    *("--metrics", "off", "--allow-list", "any", "--max-connections-per-ip", "0", "--connection-rate", "0"),
    *("--handshake-rate", "0", "--new-device-rate", "0", "--device-rate", "0", "--session-events-rate", "0"),
    *("--telemetry-maxlen", "200000", "--log-level", "error"),
)
"""The limits are there for strangers; here all trackers have one address. The cap keeps Redis small."""
_CPU_CLOCK = 2
"""In a clock id of Linux: the CPU time of a process."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        port: int = one.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used; /proc has it in ticks of 10 ms, which is too coarse."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:
        raise GatewayFault("A server that is measured has ended.") from None


def memory(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@contextmanager
def gateway(
    url: str, instance_id: str, cores: Cores, *options: str, workers: int = 1
) -> Iterator[tuple[tuple[int, ...], int]]:
    """A gateway on this Redis: its process ids and its port."""
    port = free_port()
    own = ("--listen", f"{LOOPBACK}:{port}", "--redis", url, "--instance-id", instance_id, *_OPEN_TO_ALL)
    with _running((*_GATEWAY, *own, *options, "--workers", str(workers)), port, cores, workers) as pid:
        yield (pid, *_children(pid)), port


@contextmanager
def floor(program: Path, cores: Cores) -> Iterator[tuple[tuple[int, ...], int]]:
    """The server that does the least: its process id and its port."""
    port = free_port()
    with _running((str(program), str(port), "3600"), port, cores) as pid:
        yield (pid,), port


def build_floor(directory: Path) -> Path | None:
    """Compile the server that does the least; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source, program = directory / "floor.c", directory / "floor"
    source.write_bytes(resources.files("transport.cli.benchmark").joinpath("floor.c").read_bytes())
    done = subprocess.run([compiler, "-O2", "-w", "-o", program, source], capture_output=True, check=False)
    return program if done.returncode == 0 else None


@contextmanager
def _running(program: Sequence[str], port: int, cores: Cores, listeners: int = 1) -> Iterator[int]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TELGW_")}
    # In a process group of its own: Ctrl-C is for whoever measures, who then ends what was started.
    process = subprocess.Popen(
        program,
        env=own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=die_with(os.getpid()),
    )
    try:
        os.sched_setaffinity(process.pid, cores)
        _wait_for(process, port, listeners)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, listeners: int) -> None:
    until = time.monotonic() + START_WITHIN
    while time.monotonic() < until and process.poll() is None:
        if len(list(_listening(port))) >= listeners:
            return
        time.sleep(0.05)
    raise GatewayFault("A server that is to be measured did not start.")


def _children(pid: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(status.parent.name)


def listeners(port: int) -> tuple[int, ...]:
    """The processes on this machine that listen on a TCP port, as far as we may see them."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) in inodes:
                found.add(int(link.parts[2]))
    return tuple(sorted(found))


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
