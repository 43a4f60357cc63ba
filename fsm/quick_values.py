"""Values that cannot be changed, and are made quickly.

A frozen dataclass sets each attribute with a call, because its own assignments are forbidden to it as well.
So an event of 28 fields takes three times as long as one that could be changed, and a gateway makes several
values for each command. Here a new value is of a class that allows assignments, until it is complete.
`tests/load/test_costs.py` has the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Give a frozen dataclass with slots and without a ``__post_init__`` a quick ``__init__``."""
    every = fields(cls)  # type: ignore[arg-type]
    changeable = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    unfinished = type(cls.__name__, (cls,), {"__slots__": (), **changeable})
    known = {"set_class": object.__setattr__, "unfinished": unfinished, "finished": cls}
    known |= {f"default_{one.name}": one.default for one in every}
    exec("\n".join(_source(every)), known)
    cls.__init__ = known["__init__"]  # type: ignore[assignment]
    return cls


def _source(every: tuple[Field[Any], ...]) -> Iterator[str]:
    """The lines of the method. The names in them are those of our own classes."""
    yield f"def __init__(self, {', '.join(map(_parameter, every))}):"
    yield "    set_class(self, '__class__', unfinished)"
    for one in every:
        yield f"    self.{one.name} = {one.name}"
    yield "    self.__class__ = finished"


def _parameter(one: Field[Any]) -> str:
    return one.name if one.default is MISSING else f"{one.name}=default_{one.name}"
