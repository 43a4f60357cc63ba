"""The users that the contract prints, on a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
PRINTED = re.compile(r"<!-- (acl|acl62):(\w+) -->\n```\n(ACL SETUSER .*?)```", re.DOTALL)
WELCOME = {"client", "client|setinfo", "config", "config|get"}
"""Refusals that the page announces."""


def rules() -> dict[str, list[str]]:
    """The users on the page: for whom, and the words of the command."""
    return {name: words for form, name, words in _printed() if form == "acl"}


def rules_of_6_2() -> dict[str, list[str]]:
    """The same for Redis 6.2: printed, or made from the others as the page says."""
    made = {name: [word.replace("%R~", "~") for word in words] for name, words in rules().items()}
    return made | {name: words for form, name, words in _printed() if form == "acl62"}


def _printed() -> list[tuple[str, str, list[str]]]:
    found = PRINTED.findall(PAGE.read_text(encoding="utf-8"))
    return [(form, name, text.split()) for form, name, text in found]


def refused(log: list[dict[str, Any]]) -> set[str]:
    """What the server's log says that it has refused to anybody, and the page does not announce."""
    return {entry["object"] for entry in log} - WELCOME


@contextmanager
def least_privilege(url: str) -> Iterator[str]:
    """The URL of the gateway's user on the server at `url`; what it asks for must never be refused."""
    words = rules()["gateway"]
    with Redis.from_url(url, protocol=2, decode_responses=True) as administrator:
        server: Any = administrator
        server.execute_command(*words)
        server.execute_command("ACL", "LOG", "RESET")
        yield url.replace("://", f"://{words[2]}:secret@")
        log = server.acl_log()
        server.execute_command("ACL", "DELUSER", words[2])
    assert refused(log) == set()
