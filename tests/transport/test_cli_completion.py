"""What shells complete: verbs, options, and ids that Redis has; never an error."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from click.testing import Result

from store.keys import Keys
from tests.transport.command_line import Telgw

KEYS = Keys()
CONNECTED, GONE, OTHER = "352093081452250", "352093081452251", "862093081452250"
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def redis(fake_server: fakeredis.FakeServer) -> Any:
    """An in-memory Redis that knows devices, a gateway and commands."""
    client = fakeredis.FakeRedis(server=fake_server)
    client.hset(KEYS.registry, mapping={CONNECTED: "gw-1", OTHER: "gw-1"})
    client.hset(KEYS.status, mapping={CONNECTED: "{}", GONE: "{}"})
    client.hset(KEYS.instances, "gw-1", "1")
    for command_id in ("c-1", "d-1", "c-2", "c-1"):
        client.xadd(KEYS.responses, {"command_id": command_id})
    for letter_id in ("1700000000000-0", "1800000000000-0", "1800000000000-1"):
        client.xadd(KEYS.deadletter, {"error": "imei is missing"}, id=letter_id)
    return client


def asked(telgw: Telgw, words: str, shell: str = "bash", **env: str) -> Result:
    """What the shell gets for a line whose last word, which may be empty, is to be completed."""
    last = words.rpartition(" ")[2]
    position = last if shell == "fish" else str(words.count(" "))
    how = {"_TELGW_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": position}
    return telgw(env={**how, **env})


def names(result: Result) -> list[str]:
    """The names in an answer to bash."""
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_verbs_options_and_devices(telgw_on_redis: Telgw, redis: Any, shell: str) -> None:
    for words, expected in (
        ("telgw si", "simulate"),
        ("telgw send --time", "--timeout"),
        ("telgw records 3", CONNECTED),
    ):
        result = asked(telgw_on_redis, words, shell)
        assert (result.exit_code, expected in result.stdout, result.stderr) == (0, True, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("telgw send 35", [CONNECTED, GONE]),
        ("telgw devices --online ", [CONNECTED, OTHER, GONE]),
        (f"telgw devices {OTHER} 8", [OTHER]),
        (f"telgw send {CONNECTED} 3", []),
        ("telgw records x", []),
        ("telgw watch --imei 86", [OTHER]),
        ("telgw history c", ["c-1", "c-2"]),
        ("telgw cancel ", ["c-1", "c-2", "d-1"]),
        ("telgw devices --instance g", ["gw-1"]),
        ("telgw commands --instance x", []),
        ("telgw dead-letters --requeue 18", ["1800000000000-1", "1800000000000-0"]),
        ("telgw dead-letters --show 17", ["1700000000000-0"]),
        ("telgw snd 3", []),
    ],
)
def test_what_redis_has_is_completed(
    telgw_on_redis: Telgw, redis: Any, words: str, expected: list[str]
) -> None:
    assert names(asked(telgw_on_redis, words)) == expected


def test_the_options_in_the_line_say_where_redis_is(telgw_on_redis: Telgw, redis: Any) -> None:
    redis.hset(Keys("{a}:").registry, GONE, "gw-1")
    assert names(asked(telgw_on_redis, "telgw records --key-prefix {a}: 3")) == [GONE]
    assert names(asked(telgw_on_redis, "telgw records 3", TELGW_KEY_PREFIX="{a}:")) == [GONE]


@pytest.mark.parametrize("words", ["telgw records 3", "telgw history ", "telgw send --redis nonsense 3"])
def test_a_redis_that_cannot_be_used_completes_nothing(
    telgw_on_redis: Telgw, fake_server: fakeredis.FakeServer, words: str
) -> None:
    fake_server.connected = False
    assert names(asked(telgw_on_redis, words)) == []


def test_no_more_is_offered_than_a_person_reads(telgw_on_redis: Telgw, redis: Any) -> None:
    redis.hset(KEYS.registry, mapping={f"{number:015d}": "gw-1" for number in range(500)})
    assert len(names(asked(telgw_on_redis, "telgw records 0"))) == 100
