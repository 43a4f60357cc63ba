"""What the proofs have in common: their list, and rows that are inserted, read and awaited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stack import DISPATCHER, NORMAL, SILENT, Stack, eventually

Row = dict[str, Any]
PROOFS: list[tuple[str, Callable[[Stack], None]]] = []
UNKNOWN = "352093081452251"
"""A device that no gateway holds."""


def proof(title: str) -> Callable[[Callable[[Stack], None]], Callable[[Stack], None]]:
    """Add a function to the list, in the order of this file."""

    def add(function: Callable[[Stack], None]) -> Callable[[Stack], None]:
        PROOFS.append((title, function))
        return function

    return add


def insert(stack: Stack, payload: str, imei: int | str = NORMAL, **fields: Any) -> str:
    row = {"imei": str(imei), "payload": payload, **fields}
    return str(stack.api("POST", "/items/commands", row, DISPATCHER)["id"])


def insert_silent(stack: Stack, **fields: Any) -> str:
    """A command that is not answered; its tracker must be back from the last one."""
    eventually("the tracker is back", lambda: stack.redis.hexists("connections:registry", str(SILENT)))
    return insert(stack, "cpureset", SILENT, **fields)


def read(stack: Stack, key: str) -> Row:
    return dict(stack.api("GET", f"/items/commands/{key}", who=DISPATCHER))


def ended(stack: Stack, key: str, state: str, within: float = 20.0, **expected: Any) -> Row:
    """The row when it is in `state`, with the values that are expected."""
    try:
        row = eventually(
            f"{state} of {key}", lambda: (row := read(stack, key))["state"] == state and row, within
        )
    except AssertionError as late:
        row = read(stack, key)
        raise AssertionError(f"{late}; it is {row['state']} / {row['reason']} / {row['delivery']}") from None
    seen = {name: row[name] for name in expected}
    assert seen == expected, f"{seen}, not {expected}"
    return dict(row)


def events(stack: Stack, **wanted: str) -> list[dict[str, str]]:
    """The events of the log with these values, in order."""
    entries = stack.redis.xrange("commands:responses")
    return [
        fields for _, fields in entries if all(fields.get(name) == value for name, value in wanted.items())
    ]


def logged_since(stack: Stack, start: int, text: str) -> bool:
    return text in stack.logged()[start:]
