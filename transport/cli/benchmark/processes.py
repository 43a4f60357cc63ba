"""The servers that are measured: how they start, the CPU time they have used, their memory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from fsm.errors import GatewayFault

LOOPBACK = "127.0.0.1"
START_WITHIN, STOP_WITHIN = 20.0, 10.0
"""Seconds."""
_GATEWAY = (sys.executable, "-P", "-c", "from transport.cli import main; main()", "run")
_OPEN_TO_ALL = (
    *("--metrics", "off", "--allow-list", "any", "--max-connections-per-ip", "0", "--connection-rate", "0"),
    *("--new-device-rate", "0", "--device-rate", "0", "--log-level", "error"),
)
"""The limits are there for strangers; here all trackers have one address."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        port: int = one.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@contextmanager
def gateway(url: str, instance_id: str, core: int | None) -> Iterator[tuple[int, int]]:
    """A gateway on this Redis, on one core: its process id and its port."""
    port = free_port()
    options = ("--listen", f"{LOOPBACK}:{port}", "--redis", url, "--instance-id", instance_id)
    with _running((*_GATEWAY, *options, *_OPEN_TO_ALL), port, core) as pid:
        yield pid, port


@contextmanager
def floor(program: Path, core: int | None) -> Iterator[tuple[int, int]]:
    """The server that does the least, on one core: its process id and its port."""
    port = free_port()
    with _running((str(program), str(port), "3600"), port, core) as pid:
        yield pid, port


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
def _running(program: Sequence[str], port: int, core: int | None) -> Iterator[int]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TELGW_")}
    process = subprocess.Popen(program, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        pin(process.pid, core)
        _wait_for(process, port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pin(pid: int, core: int | None) -> None:
    """Let a process run on one core only; None for all."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), 1.0):
            return
        time.sleep(0.05)
    raise GatewayFault("A server that is to be measured did not start.")


def listener(port: int) -> int | None:
    """The process on this machine that listens on a TCP port, as far as we may see it."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) in inodes:
                return int(link.parts[2])
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
