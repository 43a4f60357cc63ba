"""Values that cannot be changed, and are made quickly.

A frozen dataclass sets each attribute with a call, because its own assignments are forbidden to it as well.
So an event of 28 fields takes three times as long as one that could be changed, and a gateway makes several
values for each command. Here a new value is of a class that allows assignments, until it is complete.

To call a class costs, too, and its keyword arguments most: they become a dictionary, and arguments again. So
where most values are made, a function makes them (`maker`), and gets its arguments by position: a sixth of
the time. `tests/load/test_costs.py` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Give a frozen dataclass with slots and without a ``__post_init__`` a quick ``__init__``."""
    head, first = "def __init__(self, {parameters}):", "set_class(self, '__class__', unfinished)"
    init = _compiled(cls, head, first, "self.__class__ = finished")["__init__"]
    cls.__init__ = init  # type: ignore[method-assign]
    return cls


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """A function that makes values of such a dataclass, with the arguments of the class."""
    head, first = "def make({parameters}):", "self = new(unfinished)"
    made: Callable[P, T] = _compiled(cls, head, first, "self.__class__ = finished; return self")["make"]
    return made


def _compiled(cls: Any, head: str, first: str, last: str) -> dict[str, Any]:
    """A function that sets all fields, by its name. The names in it are those of our own classes."""
    every = fields(cls)
    changeable = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    unfinished = type(cls.__name__, (cls,), {"__slots__": (), **changeable})
    known: dict[str, Any] = {"set_class": object.__setattr__, "new": object.__new__}
    known |= {"unfinished": unfinished, "finished": cls}
    known |= {f"default_{one.name}": one.default for one in every}
    body = [first, *(f"self.{one.name} = {one.name}" for one in every), last]
    exec("\n    ".join([head.format(parameters=", ".join(map(_parameter, every))), *body]), known)
    return known


def _parameter(one: Field[Any]) -> str:
    return one.name if one.default is MISSING else f"{one.name}=default_{one.name}"
