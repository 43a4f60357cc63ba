"""IO values with their names: ``named`` in the data of a record, for the ids that the dictionary knows.

A value has the sign, the multiplier and the unit of the dictionary. Sign and meaning depend on the family of
the device. The meaning of an id is looked up once for each model, not once for each record. A name that
several ids of a family have is followed by the id: ``engine_rpm_36``.
"""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache
from msgspec import UNSET
from msgspec.json import Encoder

from fsm.record_data import SAFE_INTEGER, NamedValue, Number, RecordData

from .avl import Record
from .avl_ids import AvlDictionary, AvlId, Value, families_of
from .record_json import record_data

MODELS = 64
"""Models whose ids are remembered; the names of models come from an operator."""

Known = tuple[str, AvlId] | None

_encode = Encoder().encode


class IoNames:
    """Names the IO values of records.

    Args:
        rows: the dictionary.
        model_of: the family or model of a device, by its IMEI.
    """

    def __init__(self, rows: AvlDictionary, model_of: Callable[[str], str]) -> None:
        self._model_of = model_of
        self.use(rows)

    def use(self, rows: AvlDictionary) -> None:
        """Take another dictionary from now on."""
        self._rows = rows
        self._models: LRUCache[str, _Model] = LRUCache(MODELS)

    def record_json(self, record: Record, imei: str) -> bytes:
        """The JSON of a record of the device, with names."""
        data = record_data(record)
        data.named = self.named(data, self._model_of(imei)) or UNSET
        return _encode(data)

    def named(self, data: RecordData, model: str) -> dict[str, NamedValue]:
        """The values of a record whose ids are known for the model, by name."""
        return dict(self.by_id(data, model).values())

    def by_id(self, data: RecordData, model: str) -> dict[str, tuple[str, NamedValue]]:
        """The same with the names, by id."""
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = _Model(self._rows, model)
        return known.named(data)


class _Model:
    """The ids of one model, as far as records have shown them."""

    def __init__(self, rows: AvlDictionary, model: str) -> None:
        self._rows = rows
        self._families = families_of(model)
        self._shared = rows.shared_names(*self._families)
        self._known: dict[str, Known] = {}

    def named(self, data: RecordData) -> dict[str, tuple[str, NamedValue]]:
        found = {}
        for number, value in data.io.items():
            try:
                known = self._known[number]
            except KeyError:
                known = self._known[number] = self._look_up(int(number))
            if known is not None:
                found[number] = (known[0], _meaning(known[1], number, value, data))
        return found

    def _look_up(self, number: int) -> Known:
        row = self._rows.find(number, *self._families)
        if row is None:
            return None
        return (f"{row.name}_{number}" if row.name in self._shared else row.name), row


def _meaning(row: AvlId, number: str, value: Number, data: RecordData) -> NamedValue:
    """What a value of a record means by a row of the dictionary."""
    if data.hex and number in data.hex:
        return _published(row.variable(bytes.fromhex(str(value))))
    negative = data.signed.get(number) if data.signed else None
    return _published(row.value(int(value), None if negative is None else int(negative)))


def _published(value: Value) -> NamedValue:
    """A value as it is published: without what it does not have, and a large integer as text."""
    number = value.number
    large = isinstance(number, int) and abs(number) > SAFE_INTEGER
    return NamedValue(
        value=UNSET if number is None else str(number) if large else number,
        unit=value.unit or UNSET,
        text=value.text or UNSET,
    )
