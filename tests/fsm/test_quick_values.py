"""Values that are made quickly are what the plain frozen dataclass would be."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import pytest

from fsm import command, events, moves
from fsm.quick_values import quick


@dataclass(slots=True, frozen=True)
class Plain:
    """A value."""

    name: str
    count: int = 3
    rest: tuple[str, ...] = ()


@quick
@dataclass(slots=True, frozen=True)
class Quick:
    """The same."""

    name: str
    count: int = 3
    rest: tuple[str, ...] = ()


EVERY = [
    *(events.Origin, events.CommandEvent, events.Note, moves.MoveResult),
    *(command.Entry, command.CommandRequest, command.Command, command.Answer),
]


def told(value: Any) -> str:
    return repr(value).partition("(")[2]


@pytest.mark.parametrize("given", [("a",), ("a", 1), ("a", 1, ("b",))])
def test_it_is_the_value_of_the_dataclass(given: Any) -> None:
    value, plain = Quick(*given), Plain(*given)
    assert told(value) == told(plain)
    assert hash(value) == hash(plain)
    assert value == Quick(*given) != Quick("other")
    assert told(replace(value, count=7)) == told(replace(plain, count=7))
    assert type(value) is Quick


@pytest.mark.parametrize("given", [(), ("a", 1, (), 4)])
def test_wrong_arguments_are_refused(given: Any) -> None:
    with pytest.raises(TypeError):
        Quick(*given)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_no_value_of_the_gateway_can_be_changed(cls: Any) -> None:
    value = cls(**{one.name: one.name for one in fields(cls)})
    for one in fields(cls):
        assert getattr(value, one.name) == one.name
        with pytest.raises(FrozenInstanceError):
            setattr(value, one.name, "")
        with pytest.raises(FrozenInstanceError):
            delattr(value, one.name)
    assert type(value) is cls
