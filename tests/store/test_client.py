"""URLs, errors and scripts, before any server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    DataError,
    MaxConnectionsError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from store.client.client import HEALTH_CHECK, MAX_CONNECTIONS, TIMEOUT, connect
from store.client.errors import CallFailed, StoreRefused, is_transient, ours
from store.client.script import Script
from store.client.url import BadRedisUrl, RedisUrl, read_url, redacted
from tests.store.resp import Reply, Server, serving

TIME_LIMIT = 20.0


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "redis://",
        "unix://",
        "127.0.0.1:6379",
        "redis://:secret@127.0.0.1:nonsense",
        "redis://:secret@127.0.0.1?decode_responses=yes",
        "redis://:secret@127.0.0.1?db=secret",
        "rediss+weird://user:secret@127.0.0.1",
        "redis+sentinel://user:secret@127.0.0.1",
        "redis+sentinel://user:secret@127.0.0.1/fleet/one",
        "redis+sentinel://user:secret@127.0.0.1/fleet/1/2",
        "redis+sentinel://127.0.0.1/fleet?sentinel_password=secret&db=1",
        "redis+sentinel://user:secret@127.0.0.1:99999/fleet",
        "redis+sentinel://user:secret@127.0.0.1,/fleet",
        "redis+sentinel://user:sec/ret@127.0.0.1/fleet",
        "redis+cluster://",
        "redis+cluster://user:secret@127.0.0.1/1",
        "redis+cluster://user:secret@127.0.0.1?sentinel_password=secret",
        "redis+cluster://user:secret@127.0.0.1:7000:7001",
        "redis:secret@127.0.0.1",
        "redis://:secret",
        "redis://user:se#secret@127.0.0.1",
        "redis://user:se/secret@127.0.0.1",
        "redis://user:se?secret@127.0.0.1",
        "redis://user:se?secret=x@127.0.0.1",
        "redis://user:6379?secret@127.0.0.1",
        "redis://user:6379/0/secret@127.0.0.1",
        "redis://127.0.0.1/secret",
        "redis://127.0.0.1?ssl_password=secret",
        "unix:///run/redis.sock?ssl_password=secret",
        "redis+cluster://127.0.0.1?ssl_password=secret",
        "rediss://:secret@127.0.0.1?retry_on_timeout=1",
        "rediss://127.0.0.1?ssl_secret=1",
        "rediss://127.0.0.1?ssl_cert_reqs=secret",
        "rediss://127.0.0.1?ssl_min_version=secret",
        "rediss+sentinel://127.0.0.1/fleet?ssl_secret=1",
        "unix://user:se/secret@/run/redis.sock",
        "unix://secret/run/redis.sock",
        f"unix:///{'secret/' * 16}redis.sock",
    ],
)
def test_a_url_without_a_server_is_refused_and_hides_its_password(url: str) -> None:
    with pytest.raises(BadRedisUrl) as caught:
        connect(url, purpose="test", key_prefix="{fleet}:")
    assert "secret" not in str(caught.value) + redacted(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@host", "redis://***@host"),
        ("rediss://user:se@cret@host:1/2?ssl_password=secret", "rediss://***@host:1/2"),
        ("redis://us%65r:se%2Fcret@[::1]:1", "redis://***@[::1]:1"),
        ("redis://:se/cret@host", "redis://***"),
        ("redis://host?password=secret", "redis://host"),
        ("secret", "***"),
        ("unix:///run/redis@1.sock?db=1&password=secret", "unix:///run/redis@1.sock?db=1"),
        ("unix://:secret@/run/redis.sock", "unix://***@/run/redis.sock"),
        ("redis+cluster://user:secret@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        ("redis+sentinel://a:1,b:2/fleet", "redis+sentinel://a:1,b:2/fleet"),
        (
            "redis+sentinel://user:secret@a,b/fleet/1?sentinel_username=u&sentinel_password=sec@ret",
            "redis+sentinel://***@a,b/fleet/1",
        ),
    ],
)
def test_a_url_is_logged_without_its_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionError("refused"), True),
        (TimeoutError("silent"), True),
        (OSError(104, "reset"), True),
        (BusyLoadingError("loading"), True),
        (ReadOnlyError("replica"), True),
        (OutOfMemoryError("full"), True),
        (ResponseError("MISCONF Redis is configured to save"), True),
        (ResponseError("Error running script: @user_script:1: -OOM command not allowed"), True),
        (StoreRefused("CLUSTERDOWN Hash slot not served"), True),
        (StoreRefused("NOREPLICAS Not enough good replicas to write."), True),
        (TryAgainError("Multiple keys request during rehashing of slot"), True),
        (AskError("42 127.0.0.1:7000"), True),
        (MovedError("42 127.0.0.1:7000"), True),
        (ClusterDownError("The cluster is down"), True),
        (ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), True),
        (StoreRefused("ERR Script attempted to access a non local key in a cluster node script: 0"), True),
        (StoreRefused("ERR Script attempted to execute a command while the cluster is down"), True),
        (StoreRefused("WRONGTYPE Operation against a key"), False),
        (ResponseError("BUSYGROUP Consumer Group name already exists"), False),
        (AuthenticationError("wrong password"), True),
        (MaxConnectionsError("Too many connections"), True),
        (DataError("a bug"), False),
        (ValueError("OOM"), False),
    ],
)
def test_transient_errors_are_distinguished_from_lasting_ones(error: Exception, transient: bool) -> None:
    assert is_transient(ours(error) or error) is transient


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://host/1", RedisUrl("redis://host/1")),
        (
            "redis+sentinel://a/fleet",
            RedisUrl("redis://server/0", "sentinel", (("a", 26379),), "fleet"),
        ),
        (
            "rediss+sentinel://u:p%40@a,[::1]:1,c:2/my%2Ffleet/3?sentinel_password=x%26&ssl_ca_certs=/ca",
            RedisUrl(
                "rediss://u:p%40@server/3?ssl_ca_certs=%2Fca",
                "sentinel",
                (("a", 26379), ("::1", 1), ("c", 2)),
                "my/fleet",
                {"password": "x&"},
            ),
        ),
        ("REDIS+CLUSTER://a,b:1/", RedisUrl("redis://server/0", "cluster", (("a", 6379), ("b", 1)))),
    ],
)
def test_a_url_of_several_servers_is_read_as_it_is_meant(url: str, read: RedisUrl) -> None:
    assert read_url(url) == read


def test_every_server_is_spoken_to_as_the_url_says() -> None:
    url = "rediss+sentinel://user:secret@a/fleet/3?sentinel_username=s&ssl_ca_certs=/ca&ssl_check_hostname=no"
    pool = connect(url, purpose="test", block=1.0).connection_pool
    connection, sentinel = pool.make_connection(), pool.connection_kwargs["locator"]._dial(("a", 26379))
    for one in (connection, sentinel):
        assert isinstance(one, SSLConnection)
        assert (one.ca_certs, one.check_hostname, one.protocol) == ("/ca", False, 2)
        assert one.retry.get_retries() == 0
    assert (connection.username, connection.password, connection.db) == ("user", "secret", 3)
    assert (sentinel.username, sentinel.password, sentinel.db) == ("s", None, 0)
    assert (connection.socket_timeout, sentinel.socket_timeout) == (4.0, 1.0)
    assert (connection.client_name, pool.max_connections) == ("telgw:test", 16)


def test_nodes_of_a_cluster_are_asked_with_the_login_of_the_data() -> None:
    pool = connect("redis+cluster://user:secret@a", purpose="test", key_prefix="{f}").connection_pool
    node = pool.connection_kwargs["locator"]._dial(("a", 6379))
    assert (node.username, node.password, isinstance(node, SSLConnection)) == ("user", "secret", False)


@pytest.mark.parametrize("prefix", ["", "fleet:", "{}fleet:", "{fleet:", "fleet}:", "}{"])
def test_a_cluster_wants_a_prefix_that_keeps_keys_together(prefix: str) -> None:
    with pytest.raises(BadRedisUrl, match=r"--key-prefix .*\{fleet\}:"):
        connect("redis+cluster://127.0.0.1", purpose="test", key_prefix=prefix)
    connect("redis+sentinel://127.0.0.1/fleet", purpose="test", key_prefix=prefix)


@pytest.mark.parametrize("prefix", ["{fleet}:", "a{fleet}", "{{x}", "{a}{}"])
def test_a_cluster_takes_any_prefix_with_a_hash_tag(prefix: str) -> None:
    connect("redis+cluster://127.0.0.1", purpose="test", key_prefix=prefix)


def test_every_script_ships_with_the_package() -> None:
    folder = Path(__file__).parents[2] / "store" / "scripts"
    for path in folder.glob("*.lua"):
        assert Script(path.name).source == path.read_bytes()


async def test_a_call_whose_reply_is_lost_was_made_once() -> None:
    def disconnect(words: list[str]) -> Reply:
        server.disconnect()
        return ...

    server: Server
    async with serving(disconnect) as server:
        client = connect(f"redis://{server.place}", purpose="test")
        with pytest.raises(CallFailed):
            await client.xadd("stream", {"field": "value"})
        await client.aclose()
    assert [words[0] for words in server.calls] == ["XADD"]
    assert server.connections == 1


@pytest.mark.parametrize("block", [0.25, 2.0])
def test_a_read_may_take_longer_than_it_blocks(block: float) -> None:
    def time_limit(block: float) -> float:
        connection = connect(
            "redis://127.0.0.1", purpose="test", block=block
        ).connection_pool.make_connection()
        return float(connection.socket_timeout)

    assert time_limit(block) > block + time_limit(0.0)


def test_every_wait_of_a_connection_is_bounded() -> None:
    pool = connect("redis://127.0.0.1", purpose="test").connection_pool
    given = pool.connection_kwargs
    assert (given["socket_connect_timeout"], given["health_check_interval"]) == (TIMEOUT, HEALTH_CHECK)
    assert pool.max_connections == MAX_CONNECTIONS
