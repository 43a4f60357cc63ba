"""Finding the server that takes the writes, with sentinels, nodes and servers that say what a test wants."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client import locator
from store.client.client import connect
from store.client.errors import CallFailed, StoreRefused, is_transient
from store.client.locator import Elsewhere
from tests.store.resp import Reply, Server, serving

PREFIX = "{fleet}:"
Start = Callable[[Callable[[list[str]], Reply]], Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers."""
    async with AsyncExitStack() as stack:

        async def begin(answer: Callable[[list[str]], Reply]) -> Server:
            return await stack.enter_async_context(serving(answer))

        yield begin


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Any]]:
    """Makes clients, as the gateway does."""
    clients: list[Redis] = []

    def make(url: str, purpose: str = "test", **how: Any) -> Any:
        clients.append(connect(url, purpose=purpose, key_prefix=PREFIX, **how))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


def named(name: str) -> Callable[[list[str]], Reply]:
    """A server of data that tells its name."""
    return lambda words: name.encode() if words[0] == "GET" else None


class Watcher:
    """What a sentinel says."""

    def __init__(self, server: Server | None, epoch: int = 1) -> None:
        self.server = server
        self.epoch = epoch

    def __call__(self, words: list[str]) -> Reply:
        if self.server is None or words[2] != "fleet":
            return None if "ADDR" in words[1] else ValueError("ERR No such master with that name")
        address = [b"127.0.0.1", str(self.server.port).encode()]
        if words[1] == "MASTER":
            return [b"name", b"fleet", b"config-epoch", str(self.epoch).encode()]
        return address


def sentinel_url(*sentinels: Server, service: str = "fleet") -> str:
    return f"redis+sentinel://{','.join(sentinel.place for sentinel in sentinels)}/{service}"


def cluster_url(*nodes: Server) -> str:
    return f"redis+cluster://{','.join(node.place for node in nodes)}"


def elsewhere(server: Server, host: str = "127.0.0.1") -> Callable[[list[str]], Reply]:
    """A node that does not serve the slot."""
    return lambda words: ValueError(f"MOVED 42 {host}:{server.port}")


# Sentinels


async def test_the_sentinel_with_the_newest_configuration_is_believed(start: Start, client_of: Any) -> None:
    old, new = await start(named("old")), await start(named("new"))
    stale, fresh = await start(Watcher(old, 3)), await start(Watcher(new, 4))
    for url in (sentinel_url(stale, fresh), sentinel_url(fresh, stale)):
        assert await client_of(url).get("who") == b"new"
    assert old.calls == []


async def test_unreachable_sentinels_cost_a_bounded_time(
    start: Start, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locator, "ANSWER_TIMEOUT", 0.5)
    monkeypatch.setattr("store.client.client.TIMEOUT", 60.0)
    server = await start(named("it"))
    silent, one = await start(lambda words: ...), await start(Watcher(server))
    url = sentinel_url(silent, one).replace("//", "//127.0.0.1:1,")
    async with asyncio.timeout(10):
        assert await client_of(url).get("who") == b"it"
    assert silent.calls


async def test_the_error_names_the_answer_of_each_sentinel(start: Start, client_of: Any) -> None:
    one = await start(Watcher(None))
    with pytest.raises(CallFailed) as caught:
        await client_of(sentinel_url(one, service="flete").replace("//", "//127.0.0.1:1,")).get("who")
    assert "nothing listens at 127.0.0.1:1" in str(caught.value)
    assert f"{one.place}: No such master with that name" in str(caught.value)
    assert is_transient(caught.value)


async def test_a_call_refused_by_a_replaced_server_goes_to_the_new_one(start: Start, client_of: Any) -> None:
    old, new = await start(named("old")), await start(named("new"))
    watcher = Watcher(old)
    client = client_of(sentinel_url(await start(watcher)))
    assert await client.get("who") == b"old"
    watcher.server, old.answer = new, lambda words: ValueError("READONLY You can't write against a replica.")
    with pytest.raises(CallFailed) as caught:
        await client.get("who")
    assert is_transient(caught.value)
    assert caught.value.kind == Elsewhere.__name__
    assert await client.get("who") == b"new"
    assert old.calls == [["GET", "who"]] * 2


async def test_a_new_address_moves_idle_connections_of_all_clients(start: Start, client_of: Any) -> None:
    old, new = await start(named("old")), await start(named("new"))
    watcher = Watcher(old)
    url = sentinel_url(await start(watcher))
    busy, idle = client_of(url, "busy"), client_of(url, "idle")
    assert [await busy.get("who"), await idle.get("who")] == [b"old", b"old"]
    watcher.server, old.answer = new, lambda words: ...
    busy.connection_pool.connection_kwargs["socket_timeout"] = 0.1
    busy.connection_pool._available_connections[0].socket_timeout = 0.1
    with pytest.raises(CallFailed):
        await busy.get("who")
    assert await busy.get("who") == b"new"
    assert await idle.get("who") == b"new"
    assert len(old.calls) == 3


async def test_sentinels_are_asked_again_although_nothing_has_failed(
    start: Start, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locator.Sentinels, "trust", 0.0)
    old, new = await start(named("old")), await start(named("new"))
    watcher = Watcher(old)
    client = client_of(sentinel_url(await start(watcher)))
    assert await client.get("who") == b"old"
    watcher.server = new
    seen = set()
    while b"new" not in seen:
        try:
            seen.add(await client.get("who"))
        except CallFailed:
            seen.add(b"not believed")
    assert seen <= {b"old", b"not believed", b"new"}


async def test_after_a_long_pause_the_sentinels_are_asked_first(
    start: Start, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is busy makes nobody slow: sentinels and servers have all the time they need."""
    monkeypatch.setattr(locator, "ANSWER_TIMEOUT", 60.0)
    monkeypatch.setattr("store.client.client.TIMEOUT", 60.0)
    old, new = await start(named("old")), await start(named("new"))
    watcher = Watcher(old)
    client = client_of(sentinel_url(await start(watcher)))
    assert await client.get("who") == b"old"
    watcher.server = new
    monkeypatch.setattr(locator.Sentinels, "trust", 0.0)
    monkeypatch.setattr(locator.Sentinels, "stale", 0.0)
    assert await client.get("who") == b"new"
    assert len(old.calls) == 1


async def test_sentinels_are_not_asked_again_at_once(start: Start, client_of: Any) -> None:
    server = await start(named("it"))
    one = await start(Watcher(server))
    client = client_of(sentinel_url(one))
    for _ in range(20):
        await client.get("who")
    assert len(one.calls) == 2


async def test_without_sentinels_an_open_connection_is_used(
    start: Start, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locator.Sentinels, "trust", 0.0)
    server = await start(named("it"))
    one = await start(Watcher(server))
    client = client_of(sentinel_url(one))
    assert await client.get("who") == b"it"
    one.answer = lambda words: ValueError("ERR on holiday")
    before = len(one.calls)
    while len(one.calls) < before + 2:
        assert await client.get("who") == b"it"
    assert server.connections == 1


async def test_the_reply_of_a_replaced_server_is_not_used(start: Start, client_of: Any) -> None:
    new = await start(named("new"))
    watcher = Watcher(None)
    url = sentinel_url(await start(watcher))
    client = client_of(url)
    where = client.connection_pool.connection_kwargs["locator"]

    def late(words: list[str]) -> Reply:
        where.moved(new.address)
        return b"old"

    watcher.server = await start(late)
    with pytest.raises(CallFailed):
        await client.get("who")
    assert await client.get("who") == b"new"


async def test_closing_waits_for_a_question_that_is_out(
    start: Start, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locator.Sentinels, "trust", 0.0)
    server = await start(named("it"))
    client = client_of(sentinel_url(await start(Watcher(server))))
    await client.get("who")
    await client.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "locator"] == []


def test_a_process_has_one_locator_for_each_address() -> None:
    url = "redis+sentinel://127.0.0.1:1/fleet"
    one, two = (connect(url, purpose=name) for name in ("one", "two"))
    other = connect(url + "/1", purpose="one")
    where = [client.connection_pool.connection_kwargs["locator"] for client in (one, two, other)]
    assert where[0] is where[1]
    assert where[0] is not where[2]
    forgotten = weakref.ref(where[0])
    del one, two, where
    gc.collect()
    assert forgotten() is None


def test_a_locator_outlives_the_loop_that_it_was_first_asked_in() -> None:
    where = connect("redis+sentinel://127.0.0.1:1/fleet", purpose="one")

    async def use() -> None:
        client = connect("redis+sentinel://127.0.0.1:1/fleet", purpose="two")
        assert (
            client.connection_pool.connection_kwargs["locator"]
            is (where.connection_pool.connection_kwargs["locator"])
        )
        with pytest.raises(CallFailed):
            await client.get("who")
        await client.aclose()

    asyncio.run(use())
    asyncio.run(use())


# Clusters


async def test_any_cluster_node_names_the_node_of_the_keys(start: Start, client_of: Any) -> None:
    owner = await start(named("owner"))
    node = await start(elsewhere(owner))
    assert await client_of(cluster_url(node)).get("who") == b"owner"
    assert node.calls == [["HGET", "{fleet}:connections:registry", ""]]
    assert owner.calls == [["GET", "who"]]


@pytest.mark.parametrize("host", ["", "?"])
async def test_a_node_that_names_only_a_port_means_its_own_host(
    start: Start, client_of: Any, host: str
) -> None:
    owner = await start(named("owner"))
    node = await start(elsewhere(owner, host))
    assert await client_of(cluster_url(node)).get("who") == b"owner"


async def test_a_node_serving_the_keys_wins_over_one_naming_another(start: Start, client_of: Any) -> None:
    gone = await start(named("gone"))
    stale, owner = await start(elsewhere(gone)), await start(named("owner"))
    assert await client_of(cluster_url(stale, owner)).get("who") == b"owner"


async def test_a_node_in_a_part_of_the_cluster_that_is_down_has_no_say(start: Start, client_of: Any) -> None:
    down = await start(lambda words: ValueError("CLUSTERDOWN The cluster is down"))
    owner = await start(named("owner"))
    assert await client_of(cluster_url(down, owner)).get("who") == b"owner"


async def test_keys_that_have_moved_are_followed_and_the_call_fails_once(
    start: Start, client_of: Any
) -> None:
    old, new = await start(named("old")), await start(named("new"))
    client = client_of(cluster_url(old))
    assert await client.get("who") == b"old"
    old.answer = elsewhere(new)
    with pytest.raises(CallFailed) as caught:
        await client.get("who")
    assert is_transient(caught.value)
    assert await client.get("who") == b"new"


async def test_while_a_slot_is_on_the_move_nothing_goes_where_ask_points(
    start: Start, client_of: Any
) -> None:
    target = await start(named("target"))
    source = await start(lambda words: ValueError(f"ASK 42 127.0.0.1:{target.port}"))
    client = client_of(cluster_url(source))
    for _ in range(2):
        with pytest.raises(StoreRefused) as caught:
            await client.get("who")
        assert is_transient(caught.value)
    assert (source.connections, target.calls) == (2, [])


async def test_a_node_that_stops_answering_is_searched_again(start: Start, client_of: Any) -> None:
    old, new = await start(named("old")), await start(named("new"))
    node = await start(elsewhere(old))
    client = client_of(cluster_url(node))
    client.connection_pool.connection_kwargs["socket_timeout"] = 0.1
    assert await client.get("who") == b"old"
    old.answer, node.answer = (lambda words: ...), elsewhere(new)
    with pytest.raises(CallFailed):
        await client.get("who")
    assert await client.get("who") == b"new"


async def test_a_node_that_left_is_searched_again(start: Start, client_of: Any) -> None:
    new = await start(named("new"))
    async with serving(named("old")) as old:
        node = await start(elsewhere(old))
        client = client_of(cluster_url(node))
        assert await client.get("who") == b"old"
    with pytest.raises(CallFailed):
        await client.get("who")
    node.answer = elsewhere(new)
    assert await client.get("who") == b"new"


async def test_a_replaced_node_breaks_a_pipeline_off(start: Start, client_of: Any) -> None:
    old, new = await start(named("old")), await start(named("new"))
    client = client_of(cluster_url(old))
    await client.get("who")
    old.answer = elsewhere(new)
    with pytest.raises(CallFailed):
        await client.batch([["GET", "a"], ["GET", "b"]])
    assert await client.get("who") == b"new"
