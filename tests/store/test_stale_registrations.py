"""Registry entries of this instance for devices that are not connected are removed, and no others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from fsm.events import SessionEvent
from fsm.takeover import Claimant
from store.client import delays
from store.client.errors import CallFailed, StoreError
from store.fleet import stale_registrations as stale_registrations
from store.fleet.registry import Registrar
from store.fleet.stale_registrations import StaleRegistrations
from store.keys import Keys

KEYS = Keys()
US, BOOT = "gw-1", "abc123"
GONE, HERE = "356307042441013", "356307042441021"


class StaleRegistrationsRig:
    """The registrar and the stale registrations of one process, whose devices are in `here`."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.here: set[str] = set()
        self.closed: list[SessionEvent] = []
        self.errors: list[Exception] = []
        self.registrar = Registrar(
            client, KEYS, US, BOOT, on_failure=lambda count: None, on_fenced=lambda: None
        )
        self.stale_registrations = StaleRegistrations(
            client,
            KEYS,
            US,
            BOOT,
            self.registrar,
            grace=0.001,
            every=0.001,
            is_here=self.is_here,
            on_closed=self.closed.append,
            on_error=self._on_error,
        )
        self.failed = asyncio.Event()

    def is_here(self, imei: str) -> bool:
        return imei in self.here

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.failed.set()

    async def hold(self, imei: str, holder: str = US, session: str | None = "earlier-1") -> None:
        await self.client.hset(KEYS.registry, imei, holder)
        if session is not None:
            await self.client.hset(KEYS.sessions, imei, session)

    async def remove_stale(self) -> None:
        """Remove once, and carry out the removals."""
        await self.stale_registrations.remove_stale()
        self.registrar.stop()
        await self.registrar.run()

    async def entries(self) -> dict[str, str]:
        found = await self.client.hgetall(KEYS.registry)
        return {imei.decode(): holder.decode() for imei, holder in found.items()}


@pytest.fixture
def rig(fake_redis: Redis) -> StaleRegistrationsRig:
    return StaleRegistrationsRig(fake_redis)


async def test_a_stale_registration_is_removed(
    rig: StaleRegistrationsRig,
) -> None:
    await rig.hold(GONE)
    await rig.remove_stale()
    assert await rig.entries() == {}
    assert await rig.client.exists(KEYS.sessions) == 0
    [event] = rig.closed
    assert (event.session_id, event.imei, event.instance_id) == ("earlier-1", GONE, US)
    assert (event.state, event.reason, event.seq, event.terminal) == ("closed", "instance_lost", 0, True)


async def test_a_connected_device_keeps_its_entry(rig: StaleRegistrationsRig) -> None:
    await rig.hold(HERE)
    rig.here.add(HERE)
    await rig.remove_stale()
    assert (await rig.entries(), rig.closed) == ({HERE: US}, [])


async def test_the_devices_of_others_are_left_to_them(rig: StaleRegistrationsRig) -> None:
    await rig.hold(GONE, "gw-2")
    await rig.remove_stale()
    assert (await rig.entries(), rig.closed) == ({GONE: "gw-2"}, [])


@pytest.mark.parametrize(("imei", "holder"), [(HERE, US), (GONE, "gw-2")])
async def test_connected_and_foreign_devices_need_no_more_calls(
    rig: StaleRegistrationsRig, monkeypatch: pytest.MonkeyPatch, imei: str, holder: str
) -> None:
    await rig.hold(imei, holder)
    rig.here.add(HERE)
    monkeypatch.setattr(rig.client, "hmget", None)
    await rig.remove_stale()


async def test_a_session_of_this_process_is_not_published_again(rig: StaleRegistrationsRig) -> None:
    await rig.hold(GONE, session=f"{BOOT}-1f")
    await rig.remove_stale()
    assert (await rig.entries(), rig.closed) == ({}, [])


async def test_an_entry_without_a_session_is_removed_without_event(rig: StaleRegistrationsRig) -> None:
    await rig.hold(GONE, session=None)
    await rig.remove_stale()
    assert (await rig.entries(), rig.closed) == ({}, [])


async def test_of_many_entries_none_is_missed(rig: StaleRegistrationsRig) -> None:
    await rig.client.hset(KEYS.registry, mapping={f"{number:015d}": US for number in range(3000)})
    await rig.remove_stale()
    assert await rig.entries() == {}


async def test_a_device_back_during_the_search_is_registered(
    rig: StaleRegistrationsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.hold(GONE)
    remove = rig.registrar.unregister

    def then_it_comes(*call: Any) -> None:
        remove(*call)
        rig.registrar.register(GONE, f"{BOOT}-2", Claimant("10.0.0.1", "plain"), lambda result: None)

    monkeypatch.setattr(rig.registrar, "unregister", then_it_comes)
    await rig.remove_stale()
    assert await rig.entries() == {GONE: US}
    assert await rig.client.hget(KEYS.sessions, GONE) == f"{BOOT}-2 10.0.0.1 plain".encode()


async def test_a_device_back_during_the_look_up_keeps_its_entry(
    rig: StaleRegistrationsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.hold(GONE)
    hmget = rig.client.hmget

    async def meanwhile(*args: Any) -> Any:
        rig.here.add(GONE)
        return await hmget(*args)

    monkeypatch.setattr(rig.client, "hmget", meanwhile)
    await rig.remove_stale()
    assert await rig.entries() == {GONE: US}


async def test_the_search_is_repeated_after_an_error(
    rig: StaleRegistrationsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    error: StoreError = CallFailed("refused")
    looks: list[None] = []
    again = asyncio.Event()

    async def remove_stale() -> int:
        looks.append(None)
        if len(looks) == 1:
            raise error
        again.set()
        return 0

    monkeypatch.setattr(rig.stale_registrations, "remove_stale", remove_stale)
    task = asyncio.create_task(rig.stale_registrations.run())
    await asyncio.wait_for(again.wait(), 20)
    task.cancel()
    assert rig.errors == [error]


async def test_the_search_gets_rarer_while_nothing_is_found_and_not_while_it_fails(
    rig: StaleRegistrationsRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    found = iter([2, 0, 0, StoreError(), StoreError(), *[0] * 30])

    async def remove_stale() -> int:
        if isinstance(one := next(found), StoreError):
            raise one
        return one

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(rig.stale_registrations, "remove_stale", remove_stale)
    monkeypatch.setattr(stale_registrations.asyncio, "sleep", sleep)
    monkeypatch.setattr(delays.random, "uniform", lambda low, high: high)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await rig.stale_registrations.run()
    looks = [round(pause / 0.0012, 1) for pause in pauses[1:]]
    assert looks[:9] == [1, 1, 2, 4, 1, 1, 2, 4, 8]
    assert max(pauses) == 1.2 * stale_registrations.SELDOM


async def test_the_number_of_stale_registrations_is_logged(rig: StaleRegistrationsRig) -> None:
    await rig.hold(GONE)
    await rig.hold(HERE)
    rig.here.add(HERE)
    assert [await rig.stale_registrations.remove_stale(), rig.registrar.depth] == [1, 1]
