"""`telgw check` tells whether a server lets in whoever reaches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from store.client.url import without_login
from store.diagnosis.password import diagnose_password
from store.keys import Keys

pytestmark = pytest.mark.redis


@pytest.fixture
async def administrator(client: Redis) -> AsyncIterator[Any]:
    """The client of an administrator; afterwards the server has no password, and is protected."""
    yield client
    await client.config_set("requirepass", "")
    await client.config_set("protected-mode", "yes")


async def finding(url: str) -> tuple[str, str]:
    [found] = await diagnose_password(url, Keys())
    return found.level, found.found.partition(":")[0]


async def test_a_server_without_a_password_for_this_host_only_is_right(
    administrator: Any, redis_url: str
) -> None:
    assert await finding(redis_url) == ("ok", "none, but only this host is let in (protected-mode)")


async def test_a_server_that_lets_everybody_in_is_found(administrator: Any, redis_url: str) -> None:
    await administrator.config_set("protected-mode", "no")
    assert await finding(redis_url) == ("warning", "none")
    with_user = redis_url.replace("://", "://telgw:secret@")
    assert await finding(with_user) == ("warning", "none")


async def test_a_server_with_a_password_is_right(administrator: Any, redis_url: str) -> None:
    await administrator.config_set("protected-mode", "no")
    await administrator.config_set("requirepass", "secret")
    assert await finding(redis_url.replace("://", "://:secret@")) == ("ok", "nobody is let in without one")


async def test_nothing_is_said_of_a_server_that_does_not_answer() -> None:
    assert await diagnose_password("redis://127.0.0.1:1/0", Keys()) == []
    assert [one.level for one in await diagnose_password("unix:///run/redis.sock", Keys())] == ["ok"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@host:1/2", "redis://host:1/2"),
        ("rediss://:p@[::1]:1/2?ssl_ca_certs=/a&password=p", "rediss://[::1]:1/2?ssl_ca_certs=%2Fa"),
        (
            "redis+sentinel://u:p@a,b/service?sentinel_password=s",
            "redis+sentinel://a,b/service?sentinel_password=s",
        ),
        ("redis://host?username=u&password=p", "redis://host"),
    ],
)
def test_a_url_without_login_names_the_same_server(url: str, expected: str) -> None:
    assert without_login(url) == expected
