"""The dictionary of AVL ids: what the IO element with a given id means on a device of a given family.

A frame says of an IO value only its id and its width. What it means, whether it is signed, and its factor and
unit are in the manufacturer's pages "Teltonika Data Sending Parameters ID", and they differ between families:
the same id may mean another thing on another device. `avl_ids.csv` holds these facts, one row for each id and
set of families, with the sources that agree on it.

An id that the dictionary does not know stays a number. A value that is listed by name (an enumeration, or an
error code beside a measurement) keeps its name beside the number.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypeVar

from fsm.errors import GatewayFault

T = TypeVar("T")

DEFAULT_FAMILY = "FMB"
"""The family of most devices in use: FMB0xx to FMB9xx, FMC and FMM without x64x and x65x, FMT100, FMP100."""
VARIABLE = -1
"""The width of a value of variable length (codec 8 Extended)."""

_MASK = "bitmask:"
_REQUIRED = ("id", "family", "name")
_COLUMNS = (*_REQUIRED, "bytes", "type", "multiplier", "unit", "values", "source", "checked", "group")
_WIDTHS = {"": 0, "1": 1, "2": 2, "4": 4, "8": 8, "var": VARIABLE}
_TYPES = ("", "unsigned", "signed", "hex", "ascii")


_FAMILIES = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"FM[BCM]6[45]\d", "FMx6"),
        (r"FM6[34]\w*", "FM64"),
        (r"FM(36|34|32|22|11)\w*", r"FM\1"),
        (r"(FMB|FMC|FMM|FMU|FMT|FMP|MTB|MSP)\w*|FM3001", "FMB"),
        (r"(FTC|FTM)\w*", "FTC"),
        (r"(TAT|TMT|TST|TFT|GH5200|GH3000)\w*", r"\1"),
    )
)
"""Names of models, and the family of each. The first that matches counts."""


def families_of(model: str) -> tuple[str, ...]:
    """What to look an id up by for a device: the model, and its family if that is known.

    A family of the dictionary stands for itself.
    """
    for pattern, family in _FAMILIES:
        if match := pattern.fullmatch(model):
            return model, match.expand(family)
    return (model,)


class DictionaryFault(GatewayFault):
    """A row of a dictionary cannot be understood."""

    def __init__(self, source: str, line: int, problem: str) -> None:
        super().__init__(f"{source}, line {line}: {problem}.")
        self.source = source
        self.line = line
        self.problem = problem


@dataclass(slots=True, frozen=True)
class Value:
    """A value with its meaning.

    Attributes:
        number: in `unit`; None for text, and for an error code that stands in the place of a measurement.
        unit: of the number; empty if it has none.
        text: the name of the number in an enumeration, the names of the bits that are set, the meaning of an
            error code, or the text itself; empty if there is none.
    """

    number: int | float | None
    unit: str = ""
    text: str = ""


@dataclass(slots=True, frozen=True)
class AvlId:
    """One row: an id, on devices of some families.

    Attributes:
        families: the families, or single models, that the row holds for; empty for all.
        width: bytes of the value, `VARIABLE`, or 0 if no source says.
        kind: ``unsigned``, ``signed``, ``hex``, ``ascii``, or empty if no source says.
        multiplier: the value in `unit` is the number of the frame times this.
        names: names of single numbers, before the multiplier; of a mask, names of its bits.
        is_mask: each bit of the number has a meaning of its own.
        checked: how many separate lists agree on the row; 0 for a row of the user's own.
        ratio: the multiplier as numerator and denominator.
    """

    id: int
    families: tuple[str, ...]
    name: str
    width: int = 0
    kind: str = ""
    multiplier: Decimal = Decimal(1)
    unit: str = ""
    names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    is_mask: bool = False
    group: str = ""
    checked: int = 0
    ratio: tuple[int, int] = field(init=False, default=(1, 1))

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.multiplier.as_integer_ratio())

    def value(self, raw: int, signed: int | None = None) -> Value:
        """The meaning of a number.

        Args:
            raw: the number as unsigned.
            signed: the same bits as two's complement, if that is another number.
        """
        number = signed if signed is not None and self.kind == "signed" else raw
        text = self._name(number)
        if text and not self.is_mask and (self.unit or self.ratio != (1, 1)):
            return Value(None, text=text)
        times, divisor = self.ratio
        whole, rest = divmod(number * times, divisor)
        # The quotient of two integers is the number nearest to the exact one; `Decimal` costs ten times more.
        return Value(number * times / divisor if rest else whole, self.unit, text)

    def _name(self, number: int) -> str:
        if self.is_mask:
            return ", ".join(name for bit, name in self.names.items() if number & bit)
        return self.names.get(number, "")

    def variable(self, data: bytes) -> Value:
        """The meaning of a value of variable length: text where the dictionary says so, else hex."""
        if self.kind == "ascii" and data.isascii() and (text := data.rstrip(b"\0").decode()).isprintable():
            return Value(None, text=text)
        return Value(None, text=data.hex())


class AvlDictionary:
    """Rows by id and family.

    Args:
        rows: a later row replaces an earlier one, for the families that both name.
    """

    def __init__(self, rows: Iterable[AvlId] = ()) -> None:
        self._rows: dict[tuple[int, str], AvlId] = {}
        for row in rows:
            self.add(row)

    def add(self, row: AvlId) -> None:
        """Add a row; a row for all families counts where no row names the family."""
        for family in row.families or ("",):
            self._rows[row.id, family] = row

    def find(self, number: int, *families: str) -> AvlId | None:
        """The row of an id for the first of `families` that has one, else the row for all families."""
        found = (self._rows.get((number, family)) for family in (*families, ""))
        return next(filter(None, found), None)

    def shared_names(self, *families: str) -> frozenset[str]:
        """Names that more than one id has on such a device; an id must be named with its number there."""
        rows = (self.find(number, *families) for number in {number for number, _ in self._rows})
        counts = Counter(row.name for row in rows if row)
        return frozenset(name for name, count in counts.items() if count > 1)

    def rows_of(self, number: int) -> list[AvlId]:
        """All rows of an id, each once."""
        return list(dict.fromkeys(row for (found, _), row in self._rows.items() if found == number))

    def named(self, text: str) -> list[AvlId]:
        """All rows whose name contains `text`; rows with just this name first."""
        wanted = text.lower().replace(" ", "_").replace("-", "_")
        rows = dict.fromkeys(row for row in self._rows.values() if wanted in row.name.lower())
        return sorted(rows, key=lambda row: (row.name.lower() != wanted, row.id))

    @property
    def families(self) -> list[str]:
        """The names of all families and models."""
        return sorted({family for _, family in self._rows if family})


@cache
def built_in() -> tuple[AvlId, ...]:
    """The rows that come with the package."""
    text = files("transport.teltonika").joinpath("avl_ids.csv").read_text(encoding="utf-8")
    return tuple(read_rows(text, "avl_ids.csv"))


def dictionary(own: str = "", source: str = "") -> AvlDictionary:
    """The dictionary of the package, with rows of the user's own that replace some of it.

    Args:
        own: CSV with a head line; ``id``, ``family`` (families with ``|`` between them, or nothing for all)
            and ``name`` are required.
        source: what errors call it.

    Raises:
        DictionaryFault: a row of `own` cannot be understood.
    """
    return AvlDictionary((*built_in(), *read_rows(own, source)))


def read_rows(text: str, source: str) -> Iterator[AvlId]:
    """The rows of a CSV text.

    Raises:
        DictionaryFault: the head line lacks a column or has an unknown one, or a row cannot be understood.
    """
    reader = csv.DictReader(text.splitlines(), restval="")
    if text.strip():
        _check_head(reader.fieldnames or (), source)
    for row in reader:
        try:
            if None in row:
                raise ValueError("there are more values than columns")
            yield _row(row)
        except ValueError as error:
            raise DictionaryFault(source, reader.line_num, str(error)) from None


def _check_head(columns: Sequence[str], source: str) -> None:
    """A misspelt column would be a default for all rows, and their values would be wrong."""
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise DictionaryFault(source, 1, f"the column {missing[0]} is missing")
    if unknown := [name for name in columns if name not in _COLUMNS]:
        known = ", ".join(_COLUMNS)
        raise DictionaryFault(source, 1, f"the column {unknown[0][:32]!r} is not known; there are {known}")


def _row(row: Mapping[str, str]) -> AvlId:
    number = _whole(row["id"], "id", 0xFFFF)
    name = row["name"].strip()
    if not name or not name.isprintable():
        raise ValueError("the name is missing")
    values = row.get("values", "")
    return AvlId(
        id=number,
        families=tuple(filter(None, (part.strip() for part in row["family"].split("|")))),
        name=name,
        width=_chosen(row, "bytes", _WIDTHS),
        kind=_chosen(row, "type", dict(zip(_TYPES, _TYPES, strict=True))),
        multiplier=_multiplier(row.get("multiplier", "")),
        unit=row.get("unit", ""),
        names=MappingProxyType(_names(values.removeprefix(_MASK))),
        is_mask=values.startswith(_MASK),
        group=row.get("group", ""),
        checked=_whole(row.get("checked") or "0", "checked", 99),
    )


def _whole(text: str, column: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ValueError(f"{column} is not a whole number up to {most}")
    return int(text)


def _chosen(row: Mapping[str, str], column: str, allowed: Mapping[str, T]) -> T:
    text = row.get(column, "")
    if text not in allowed:
        raise ValueError(f"{column} is none of {', '.join(filter(None, allowed))}")
    return allowed[text]


def _multiplier(text: str) -> Decimal:
    try:
        number = Decimal(text or "1")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError("multiplier is not a number")
    return number


def _names(text: str) -> dict[int, str]:
    """Names of numbers, as ``0=off;1=on``. What is no such pair (packed bytes) has no names."""
    names = {}
    for part in text.split(";"):
        number, equals, name = part.partition("=")
        try:
            key = int(number.strip(), 0)
        except ValueError:
            continue
        if equals:
            names[key] = name.strip()
    return names
