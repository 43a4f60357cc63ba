"""The schemas of the stream entries: they are those of the code, and refuse wrong entries."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fsm.command import COMMAND
from fsm.outbound import Limits, parse_entry
from fsm.reasons import RULES
from tests.transport.command_line import Telgw
from transport.cli.command_options import entry
from transport.cli.schema import CHANNELS, asyncapi, files, json_schema, status_schema
from transport.cli.schema_examples import entry_examples
from transport.cli.schemas import entry_schemas, record_schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schema"
IMEI = "352093081452251"
EXAMPLES = [
    pytest.param(name, example, id=f"{name}{number}")
    for name, examples in entry_examples().items()
    for number, example in enumerate(examples)
]


def errors(name: str, fields: dict[str, Any]) -> list[str]:
    """What the schema of a kind of entry finds wrong."""
    return [error.message for error in validator(name).iter_errors(fields)]


@cache
def validator(name: str) -> Draft202012Validator:
    """It is built once for each kind of entry."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": json_schema(*CHANNELS)["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_documents_of_the_repository_are_those_of_the_code() -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert kept == files(), "telgw schema --write docs/schema"


def test_the_verb_writes_every_document(telgw: Telgw, tmp_path: Path) -> None:
    assert telgw("schema", "--write", tmp_path).exit_code == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()


@pytest.mark.parametrize("args", [(), ("--asyncapi",)])
def test_every_reference_of_a_schema_leads_somewhere(telgw: Telgw, args: tuple[str, ...]) -> None:
    printed = telgw("schema", *args).stdout
    document = json.loads(printed)
    references = re.findall(r'"\$ref": "#/([^"]+)"', printed)
    assert references
    for reference in references:
        found = document
        for step in reference.split("/"):
            found = found[step]


def test_every_kind_of_entry_has_an_example_and_is_on_a_stream() -> None:
    kinds = {name for _, names in CHANNELS.values() for name in names}
    assert kinds == set(entry_examples()) == set(entry_schemas("{name}")) - set(record_schemas("{name}"))
    assert set(asyncapi()["components"]["messages"]) == kinds


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_an_entry_of_its_kind_only(name: str, example: dict[str, str]) -> None:
    assert errors(name, example) == []
    channel = next(channel for channel, (_, names) in CHANNELS.items() if name in names)
    found = [kind for kind in CHANNELS[channel][1] if not errors(kind, example)]
    assert found == [name]
    if "data" in example:
        assert errors("RecordData", json.loads(example["data"])) == []


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_no_required_field_may_be_missing_and_all_are_text(name: str, example: dict[str, str]) -> None:
    for field in entry_schemas("{name}")[name]["required"]:
        assert errors(name, {key: value for key, value in example.items() if key != field}), field
    for field in example:
        assert errors(name, example | {field: 1}), field


def test_the_example_of_a_status_fulfils_its_schema() -> None:
    schema = status_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    (example,) = schema["examples"]
    assert list(validator.iter_errors(example)) == []
    assert list(validator.iter_errors({name: example[name] for name in ("peer", "last")}))


def test_an_unknown_field_is_allowed() -> None:
    for name, examples in entry_examples().items():
        assert errors(name, examples[0] | {"later_version": "1"}) == []


@pytest.mark.parametrize(
    "wrong",
    [{"reason": "nack"}, {"delivery": "not_sent"}, {"state": "failed"}, {"terminal": "0"}, {"outcome": ""}],
)
def test_an_event_fits_the_edge_that_it_names(wrong: dict[str, str]) -> None:
    responded = entry_examples()["CommandEvent"][2]
    assert responded["state"] == "responded"
    assert errors("CommandEvent", responded | wrong)


def test_the_schema_has_every_edge_of_the_machine() -> None:
    edges = entry_schemas("{name}")["CommandEvent"]["allOf"]
    found = {tuple(one["const"] for one in edge["if"]["properties"].values()) for edge in edges}
    assert found == {(trigger, "" if source == COMMAND.initial else source) for trigger, source in RULES}


@pytest.mark.parametrize(
    "wrong", [{"imei": "1"}, {"payload": "a\nb"}, {"codec": "8"}, {"command_id": "a b"}, {"type": "cancel"}]
)
def test_the_schema_refuses_commands_that_a_gateway_refuses(wrong: dict[str, str]) -> None:
    (command,) = entry_examples()["Command"]
    assert errors("Command", command | wrong)


def test_an_example_of_a_command_is_one_to_a_gateway() -> None:
    for fields in (*entry_examples()["Command"], *entry_examples()["Cancel"]):
        raw = {name.encode(): value.encode() for name, value in fields.items()}
        now = 1_767_225_600_000
        parse_entry(raw, instance_id="gw-1", outbound_id=f"{now}-0", now_ms=now, limits=Limits())


def test_what_send_writes_is_what_the_schema_says() -> None:
    fields = entry(1_760_000_000_000, imei=IMEI, text="getinfo", timeout=2.0, expires_in=1.0, no_answer=True)
    assert errors("Command", fields) == []
