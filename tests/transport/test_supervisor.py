"""The supervisor of several workers, with small programs in their place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from tests.transport.command_line import Telgw
from transport.daemon import supervisor
from transport.daemon.service_manager import ServiceManager
from transport.settings import AllowFrom, Settings


async def supervised(program: str, **settings: object) -> int:
    """The exit status of a supervisor whose workers run `program`."""
    given = Settings(
        instance_id="gw",
        listen=(("127.0.0.1", 0),),
        redis="redis://127.0.0.1:1",
        metrics=None,
        workers=2,
        **settings,  # type: ignore[arg-type]
    )
    return await asyncio.wait_for(supervisor.supervise(given, (sys.executable, "-S", "-c", program)), 30)


async def test_a_worker_that_dies_too_often_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSES", (0.0,) * supervisor.RESTARTS)
    assert await supervised("import sys; sys.exit(1)") == 1


@pytest.mark.parametrize("status", supervisor.FINAL)
async def test_a_worker_that_cannot_start_is_not_started_again(status: int) -> None:
    assert await supervised(f"import sys; sys.exit({status})") == status


@pytest.mark.parametrize("raises", [False, True], ids=["died too often", "not watched"])
async def test_a_lost_embedded_server_is_a_failure(monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    async def watch(server: object, on_failure: Callable[[], None]) -> None:
        if raises:
            raise OSError("no more descriptors")
        on_failure()

    monkeypatch.setattr(supervisor, "watch", watch)
    keeper = supervisor.Supervisor([], asyncio.Event(), ServiceManager({}))
    server = cast(Any, object())
    assert await asyncio.wait_for(keeper.run(Settings(instance_id="gw"), server), 30) == 1


def test_each_worker_gets_its_own_id_and_the_same_port(tmp_path: Path) -> None:
    any_port = ("127.0.0.1", 0)
    private = (ip_network("10.0.0.0/8"),)
    given = Settings(
        instance_id="gw", listen=(any_port,), workers=2, allow_from=(AllowFrom(private, any_port),)
    )
    bound, reserved = supervisor.reserve(given)
    with reserved[0]:
        workers = [supervisor.worker_settings(bound, n, tmp_path) for n in (1, 2)]
    assert [worker.instance_id for worker in workers] == ["gw-1", "gw-2"]
    assert workers[0].listen == workers[1].listen == (("127.0.0.1", bound.listen[0][1]),)
    assert bound.listen[0][1] > 0
    assert bound.allowed_from(bound.listen[0]) == private


def test_an_instance_id_must_leave_room_for_the_number_of_a_worker(telgw: Telgw) -> None:
    ended = telgw("run", "--workers", "10", "--instance-id", "g" * 62, "--redis", "redis://127.0.0.1:1")
    assert ended.exit_code == 2
    assert "--instance-id is too long" in ended.output
