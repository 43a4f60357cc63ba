"""A gateway that lacks a right says so when it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from store.client.client import connect
from store.client.errors import NotLetIn, Outcome, is_transient
from store.diagnosis.rights import LoginRefused, RightsMissing, check_rights
from store.keys import Keys
from tests.rig.rights import rules

pytestmark = pytest.mark.redis

WORDS = rules()["gateway"]
NAME = WORDS[2]
AT_EVERY_CONNECTION = {"+select", "+evalsha", "+eval"}
LACKING = [word for word in WORDS if word[0] in "+~%" and word not in AT_EVERY_CONNECTION]


@pytest.fixture
async def url(client: Redis, redis_url: str) -> AsyncIterator[str]:
    """The URL of the user that the contract prints."""
    await client.execute_command(*WORDS)  # type: ignore[no-untyped-call]
    yield redis_url.replace("://", f"://{NAME}:secret@")
    await client.execute_command("ACL", "DELUSER", NAME)  # type: ignore[no-untyped-call]


async def check(url: str) -> None:
    client = connect(url, purpose="test")
    try:
        await check_rights(
            client, Keys(), "gw-1", "b00t", "commands:responses", allow_list=True, families=True
        )
    finally:
        await client.aclose()


async def test_the_user_of_the_contract_has_exactly_the_rights_needed(client: Redis, url: str) -> None:
    await client.hset("connections:registry", "352093081452251", "gw-2")  # type: ignore[misc]
    await client.set("instance:boot:gw-1", "another", px=60_000)
    await check(url)
    assert sorted(await client.keys("*")) == [b"connections:registry", b"instance:boot:gw-1"]
    assert await client.hgetall("connections:registry") == {b"352093081452251": b"gw-2"}  # type: ignore[misc]
    assert await client.pttl("instance:boot:gw-1") > 50_000


@pytest.mark.parametrize("lacks", LACKING)
async def test_each_right_that_is_missing_is_named(client: Redis, url: str, lacks: str) -> None:
    given = [word for word in WORDS if word != lacks]
    await client.execute_command(*given)  # type: ignore[no-untyped-call]
    with pytest.raises(RightsMissing) as raised:
        await check(url)
    name = lacks.lstrip("+~%R").split("|")[0].rstrip("*")
    assert any(name in refused for refused in raised.value.refused)


async def test_a_wrong_password_is_not_taken_for_an_outage(url: str) -> None:
    with pytest.raises(LoginRefused):
        await check(url.replace("secret", "wrong"))
    await check("redis://127.0.0.1:1")


async def test_a_refused_connection_says_nothing_of_the_call(redis_url: str) -> None:
    """So no command or message is given up because of it."""
    elsewhere = connect(f"{redis_url.rpartition('/')[0]}/999", purpose="test")
    with pytest.raises(NotLetIn, match="DB index is out of range") as caught:
        await elsewhere.xadd("stream", {"field": "value"})
    await elsewhere.aclose()
    assert caught.value.outcome is Outcome.NOT_SENT
    assert is_transient(caught.value)
