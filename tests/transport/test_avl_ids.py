"""What AVL ids mean: sign, factor, names, families, rows of the user's own."""

from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from transport.cli import cli
from transport.cli.avl import table
from transport.teltonika.avl_ids import (
    DEFAULT_FAMILY,
    VARIABLE,
    AvlDictionary,
    AvlId,
    DictionaryFault,
    Value,
    built_in,
    dictionary,
    read_rows,
)

HEAD = "id,family,name,bytes,type,multiplier,unit,values,source,checked,group\n"


def row(number: int, family: str = DEFAULT_FAMILY) -> AvlId:
    found = AvlDictionary(built_in()).find(number, family)
    assert found is not None
    return found


def test_the_built_in_rows_name_each_id_once_for_a_family() -> None:
    pairs = [(one.id, family) for one in built_in() for family in one.families]
    assert len(pairs) == len(set(pairs)) > 4000


@pytest.mark.parametrize(
    ("number", "raw", "signed", "value"),
    [
        pytest.param(66, 12_345, None, Value(12.345, "V"), id="a factor"),
        pytest.param(72, 0xFFFFFF9C, -100, Value(-10, "°C"), id="a sign and a factor"),
        pytest.param(66, 0xFFFF, -1, Value(65.535, "V"), id="a sign bit of an unsigned number"),
        pytest.param(239, 1, None, Value(1, text="Ignition On"), id="a name"),
        pytest.param(239, 9, None, Value(9), id="a number without a name"),
        pytest.param(72, 3000, None, Value(None, text="Not connected"), id="an error code"),
        pytest.param(90, 0x300, None, Value(0x300, text="front left door, front right door"), id="a mask"),
        pytest.param(16, 2**53 + 1, None, Value(2**53 + 1), id="a large number"),
    ],
)
def test_a_number_has_its_sign_factor_unit_and_name(
    number: int, raw: int, signed: int | None, value: Value
) -> None:
    assert row(number).value(raw, signed) == value


def test_a_product_is_the_nearest_number_to_the_exact_one() -> None:
    tenths = AvlId(1, (), "x", multiplier=Decimal("0.1"))
    assert [tenths.value(raw).number for raw in (3, 10, 123_456_789)] == [0.3, 1, 12_345_678.9]


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("ascii", b"WBA123\0", "WBA123"),
        ("ascii", b"\x07\xff", "07ff"),
        ("hex", b"AB", "4142"),
        ("", b"A", "41"),
    ],
)
def test_a_value_of_variable_length_is_text_or_hex(kind: str, data: bytes, text: str) -> None:
    assert AvlId(1, (), "x", VARIABLE, kind).variable(data) == Value(None, text=text)


def test_an_id_means_what_the_family_says() -> None:
    rows = AvlDictionary(built_in())
    names = [found.name if (found := rows.find(90, family)) else None for family in ("FMB", "FMx6", "none")]
    assert names == ["door_status", "axle_weight_2", None]


def test_a_model_comes_before_its_family() -> None:
    rows = AvlDictionary(read_rows(HEAD + "704,FMx6,all\n704,FMB640,one\n", "test"))
    assert [found.name for model in ("FMB640", "FMC650") if (found := rows.find(704, model, "FMx6"))] == [
        "one",
        "all",
    ]


def test_own_rows_add_and_replace() -> None:
    rows = dictionary("id,family,name\n239,FMB,key\n60000,,mine\n", "own.csv")
    found = [rows.find(number, family) for number, family in ((239, "FMB"), (239, "FMx6"), (60000, "FMB"))]
    assert [one and one.name for one in found] == ["key", "ignition", "mine"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("id,name\n1,x\n", 1, "the column family is missing"),
        ("id,family,name,sign\n1,,x,signed\n", 1, "the column 'sign' is not known; there are id, family"),
        ("id,family,name,unit\n1,,x,m,s\n", 2, "there are more values than columns"),
        (HEAD + "1,FMB,x\nx,FMB,y\n", 3, "id is not a whole number up to 65535"),
        (HEAD + "65536,FMB,x\n", 2, "id is not a whole number up to 65535"),
        (HEAD + "1,FMB,\n", 2, "the name is missing"),
        (HEAD + "1,FMB,x,3\n", 2, "bytes is none of 1, 2, 4, 8, var"),
        (HEAD + "1,FMB,x,1,float\n", 2, "type is none of unsigned, signed, hex, ascii"),
        (HEAD + "1,FMB,x,1,signed,tenth\n", 2, "multiplier is not a number"),
        (HEAD + "1,FMB,x,1,signed,NaN\n", 2, "multiplier is not a number"),
    ],
)
def test_a_row_that_cannot_be_understood_is_named(text: str, line: int, problem: str) -> None:
    with pytest.raises(DictionaryFault, match=problem) as caught:
        dictionary(text, "own.csv")
    assert (caught.value.source, caught.value.line) == ("own.csv", line)


def avl(*args: object) -> Result:
    return CliRunner().invoke(cli, ["avl", *map(str, args)])


def test_avl_finds_an_id_by_number_and_by_name() -> None:
    by_number = [json.loads(line) for line in avl(239, "--family", "FMB", "--json").stdout.splitlines()]
    by_name = [json.loads(line) for line in avl("Ignition", "--family", "FMB", "--json").stdout.splitlines()]
    assert by_number == by_name[:1]
    assert by_number[0]["values"] == {"0": "Ignition Off", "1": "Ignition On"}


@pytest.mark.parametrize(("number", "named"), [(239, True), (1, False)])
def test_values_have_a_column_only_if_there_are_any(number: int, named: bool) -> None:
    assert ("values" in avl(number, "--family", "FMB").stdout) == named


def test_avl_reads_rows_of_the_user(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("id,family,name\n60000,,mine\n")
    assert "mine" in avl(60000, "--avl-ids", own).stdout
    own.write_text("id,family\n")
    assert avl(60000, "--avl-ids", own).exit_code == 2


def test_avl_says_what_it_does_not_know() -> None:
    assert (avl(60000).exit_code, avl("no such thing").exit_code) == (4, 4)
    unknown = avl(239, "--family", "X")
    assert unknown.exit_code == 2
    assert "there are: FM11" in unknown.stderr


@pytest.mark.parametrize("columns", [80, 200])
def test_avl_fits_the_terminal(columns: int) -> None:
    console = Console(width=columns, file=StringIO())
    with console.capture() as captured:
        console.print(table([row(72), row(90), row(239)]))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= columns
    assert any("dallas_temperature_1" in line for line in lines)
