"""Names are looked up once for everybody, and the last answer counts while there is no new one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from store.client import resolver
from store.client.resolver import Resolver
from tests.rig.waiting import until

HOST = "redis.example"


class Names:
    """Stands in for the resolver of the C library: answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.addresses: list[str] = ["192.0.2.1", "2001:db8::1"]

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        self.answers.wait(10)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(0, 0, 0, "", (address, 0)) for address in self.addresses for _ in range(2)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(resolver.socket, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(resolver, "LOOKUP_TIMEOUT", 10.0)
    yield names
    names.answers.set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%eth0"])
async def test_an_address_needs_no_look_up(names: Names, address: str) -> None:
    assert (await Resolver().find(address), names.asked) == ([address], 0)


async def test_simultaneous_callers_share_one_look_up(names: Names) -> None:
    found = Resolver()
    names.answers.clear()
    asking = [asyncio.create_task(found.find(HOST)) for _ in range(20)]
    await asyncio.sleep(0)
    names.answers.set()
    assert await asyncio.gather(*asking) == [["192.0.2.1", "2001:db8::1"]] * 20
    assert names.asked == 1


async def test_a_name_that_moves_is_followed(names: Names) -> None:
    found = Resolver()
    await found.find(HOST)
    names.addresses = ["192.0.2.2"]
    assert await found.find(HOST) == ["192.0.2.2"]


async def test_while_the_resolver_fails_the_last_address_counts(names: Names) -> None:
    found = Resolver()
    known = await found.find(HOST)
    names.addresses = []
    assert await found.find(HOST) == known


async def test_without_the_resolver_the_last_address_is_used(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one thread waits for it, however often it is asked."""
    found = Resolver()
    known = await found.find(HOST)
    names.answers.clear()
    monkeypatch.setattr(resolver, "LOOKUP_TIMEOUT", 0.01)
    assert [await found.find(HOST) for _ in range(5)] == [known] * 5
    assert names.asked == 2
    names.addresses = ["192.0.2.2"]
    names.answers.set()
    monkeypatch.setattr(resolver, "LOOKUP_TIMEOUT", 10.0)
    await until(lambda: HOST not in found._asked, "the late answer")
    assert await found.find(HOST) == ["192.0.2.2"]


@pytest.mark.parametrize("host", [HOST, "x" * 300, "a\ufffd" * 40])
async def test_an_unknown_name_is_an_os_error(names: Names, host: str) -> None:
    names.addresses = []
    with pytest.raises(OSError, match="name"):
        await Resolver().find(host)


async def test_a_cancelled_caller_does_not_end_the_look_up(names: Names) -> None:
    found = Resolver()
    names.answers.clear()
    first, second = (asyncio.create_task(found.find(HOST)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    names.answers.set()
    assert await second == ["192.0.2.1", "2001:db8::1"]
