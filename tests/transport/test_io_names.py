"""`named` in the data of a record: sign, factor, unit, names of numbers, families, unknown ids."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from store.fleet.device_families import DeviceFamilies
from store.keys import Keys
from store.streams.record_data import RecordData, read_record
from transport.teltonika.avl import Record
from transport.teltonika.avl_ids import dictionary, families_of
from transport.teltonika.io_names import IoNames
from transport.teltonika.record_json import record_json

IMEI = "352093081452251"


def names(own: str = "", model: str = "FMB") -> IoNames:
    return IoNames(dictionary(own, "own.csv"), lambda _: model)


def named(io: dict[int, tuple[int, Any]], own: str = "", model: str = "FMB", **more: Any) -> dict[str, Any]:
    """`named` of a record with these values: id -> width and value."""
    found = json.loads(names(own, model).record_json(Record.of(timestamp=1, io=io, **more), IMEI))
    return dict(found.get("named", {}))


@pytest.mark.parametrize(
    ("number", "width", "raw", "name", "meaning"),
    [
        pytest.param(66, 2, 12_345, "external_voltage", {"value": 12.345, "unit": "V"}, id="a factor"),
        pytest.param(72, 4, 0xFFFFFF9C, "dallas_temperature_1", {"value": -10, "unit": "°C"}, id="a sign"),
        pytest.param(66, 2, 0xFFFF, "external_voltage", {"value": 65.535, "unit": "V"}, id="unsigned"),
        pytest.param(239, 1, 1, "ignition", {"value": 1, "text": "Ignition On"}, id="an enumeration"),
        pytest.param(72, 4, 3000, "dallas_temperature_1", {"text": "Not connected"}, id="an error code"),
        pytest.param(78, 8, 2**60, "ibutton", {"value": str(2**60)}, id="a number too large for JavaScript"),
        pytest.param(36, 2, 900, "engine_rpm_36", {"value": 900, "unit": "rpm"}, id="a name of several ids"),
    ],
)
def test_a_value_is_explained(number: int, width: int, raw: int, name: str, meaning: dict[str, Any]) -> None:
    assert named({number: (width, raw)}) == {name: meaning}


def test_an_unknown_id_stays_a_number() -> None:
    data = json.loads(names().record_json(Record.of(timestamp=1, io={60000: (1, 7)}), IMEI))
    assert data["io"] == {"60000": 7}
    assert "named" not in data


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("FMB", "door_status"),
        ("FMC130", "door_status"),
        ("FMC650", "axle_weight_2"),
        ("FMx6", "axle_weight_2"),
    ],
)
def test_an_id_means_what_the_family_of_the_device_says(model: str, name: str) -> None:
    assert list(named({90: (2, 0)}, model=model)) == [name]


@pytest.mark.parametrize(
    ("model", "families"),
    [
        ("FMB", ("FMB", "FMB")),
        ("FMB120", ("FMB120", "FMB")),
        ("FM3001", ("FM3001", "FMB")),
        ("FMM650", ("FMM650", "FMx6")),
        ("FM6320", ("FM6320", "FM64")),
        ("FM3612", ("FM3612", "FM36")),
        ("FTC921", ("FTC921", "FTC")),
        ("TAT240", ("TAT240", "TAT")),
        ("XYZ1", ("XYZ1",)),
    ],
)
def test_a_model_belongs_to_a_family(model: str, families: tuple[str, ...]) -> None:
    assert families_of(model) == families


def test_own_rows_add_and_replace() -> None:
    own = "id,family,name,multiplier,unit\n239,FMB,key,,\n60000,,depth,0.5,m\n"
    assert named({239: (1, 1), 60000: (1, 7)}, own) == {
        "key": {"value": 1},
        "depth": {"value": 3.5, "unit": "m"},
    }


def test_a_value_of_variable_length_is_text_or_hex() -> None:
    own = "id,family,name,type\n60000,,label,ascii\n60001,,blob,hex\n"
    record = Record.of(timestamp=1, io={60000: b"WBA1", 60001: b"\x00\xff"})
    assert json.loads(names(own).record_json(record, IMEI))["named"] == {
        "label": {"text": "WBA1"},
        "blob": {"text": "00ff"},
    }


def test_another_dictionary_is_used_at_once() -> None:
    found = names()
    record = Record.of(timestamp=1, io={60000: (1, 7)})
    assert b"named" not in found.record_json(record, IMEI)
    found.use(dictionary("id,family,name\n60000,,mine\n"))
    assert json.loads(found.record_json(record, IMEI))["named"] == {"mine": {"value": 7}}


def test_the_rest_of_the_record_is_the_same() -> None:
    record = Record.of(timestamp=1, io={66: (2, 12_345), 72: (4, 0xFFFFFF9C), 78: (8, 2**60)}, satellites=7)
    with_names = json.loads(names().record_json(record, IMEI))
    assert with_names.pop("named")
    assert with_names == json.loads(record_json(record))


def test_named_values_are_read_back() -> None:
    text = names().record_json(Record.of(timestamp=1, io={66: (2, 12_345), 72: (4, 3000)}), IMEI)
    data = read_record(text)
    assert data == RecordData.from_json(text)
    assert json.loads(data.to_json()) == json.loads(text)
    assert data.named
    assert data.named["external_voltage"].value == 12.345


async def test_the_family_of_a_device_is_read_from_redis_in_the_background(fake_redis: Any) -> None:
    keys, errors = Keys("{t}:"), []
    families = DeviceFamilies(fake_redis, keys, "FMB", on_error=errors.append)
    await fake_redis.hset(keys.families, IMEI, "FMC650")
    assert families.of(IMEI) == "FMB"
    await families.copy()
    assert (families.of(IMEI), families.of("352093081452252")) == ("FMC650", "FMB")
    await fake_redis.delete(keys.families)
    await families.copy()
    assert families.of(IMEI) == "FMB"


async def test_without_redis_the_last_copy_counts(fake_redis: Any, fake_server: Any, spawn: Any) -> None:
    failed = asyncio.Event()
    families = DeviceFamilies(fake_redis, Keys(), "FMB", on_error=lambda _: failed.set())
    await fake_redis.hset(Keys().families, IMEI, "FMC650")
    await families.copy()
    fake_server.connected = False
    spawn(families.keep_copy())
    await asyncio.wait_for(failed.wait(), 10)
    assert families.of(IMEI) == "FMC650"
