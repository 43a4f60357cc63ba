"""URLs, errors and scripts, before any server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    DataError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from store.client import BadRedisUrl, Script, StoreRefused, connect, is_transient, redacted


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
    ],
)
def test_a_url_that_names_no_server_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadRedisUrl) as caught:
        connect(url, purpose="test")
    if "db=" not in url:
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("rediss://user:se@cret@host:1/2", "rediss://user:***@host:1/2"),
        ("redis://:se/cret@host", "redis://:***@host"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock?db=1&password=***"),
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
        (StoreRefused("WRONGTYPE Operation against a key"), False),
        (ResponseError("BUSYGROUP Consumer Group name already exists"), False),
        (AuthenticationError("wrong password"), False),
        (DataError("a bug"), False),
        (ValueError("OOM"), False),
    ],
)
def test_what_passes_by_waiting_is_told_from_what_does_not(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


def test_every_script_ships_with_the_package() -> None:
    folder = Path(__file__).parents[2] / "store" / "scripts"
    for path in folder.glob("*.lua"):
        assert Script(path.name).source == path.read_bytes()
