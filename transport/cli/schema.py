"""``telgw schema``: the entries of the streams as JSON Schema and AsyncAPI."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec

from fsm.device_status import DeviceStatus
from store.fleet.device_status import status_json
from store.keys import Keys

from .schema_examples import STATUS, entry_examples
from .schemas import entry_schemas, record_schemas

Document = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
CHANNELS = {
    "commandsOutbound": (Keys().outbound("{instance_id}"), ("Command", "Cancel")),
    "commandsResponses": (Keys().responses, ("CommandEvent", "Note", "SessionEvent")),
    "commandsDeadletter": (Keys().deadletter, ("DeadLetter",)),
    "telemetryRecords": (Keys().telemetry, ("TelemetryRecord",)),
    "telemetryMessages": (Keys().messages, ("DeviceMessage",)),
    "telemetryUndecodable": (Keys().undecodable, ("UndecodableFrame",)),
}
"""Streams, and the kinds of entries on each."""


@click.command(short_help="Print the JSON Schema or the AsyncAPI document of the streams.")
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="An AsyncAPI 3 document.")
@click.option(
    "--write",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Write the AsyncAPI document and a JSON Schema for each stream into this directory instead.",
)
def command(as_asyncapi: bool, directory: Path | None) -> None:
    """Print the JSON Schema of the stream entries, or an AsyncAPI document of the streams."""
    if directory is None:
        click.echo(_text(asyncapi() if as_asyncapi else json_schema(*CHANNELS)), nl=False)
        return
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")


def files() -> dict[str, str]:
    """Every document, by the name of its file."""
    documents = {_file(address): json_schema(channel) for channel, (address, _) in CHANNELS.items()}
    documents |= {_file(Keys().status): status_schema(), "asyncapi.json": asyncapi()}
    return {name: _text(document) for name, document in documents.items()}


def _file(address: str) -> str:
    return address.removesuffix(":{instance_id}").replace(":", "-") + ".json"


def _text(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def json_schema(*channels: str) -> Document:
    """One JSON Schema that every entry of these streams fulfils. Its parts are under ``$defs``."""
    names = [name for channel in channels for name in CHANNELS[channel][1]]
    others = {name for _, kinds in CHANNELS.values() for name in kinds} - set(names)
    if "TelemetryRecord" in others:
        others |= set(record_schemas(""))
    schemas = {name: schema for name, schema in _schemas("#/$defs/{name}").items() if name not in others}
    return {
        "$schema": DIALECT,
        "title": f"Entries of {', '.join(CHANNELS[channel][0] for channel in channels)}",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in names],
        "$defs": schemas,
    }


def status_schema() -> Document:
    """The JSON Schema of a value of the hash ``devices:status``, which is JSON."""
    _, schemas = msgspec.json.schema_components([DeviceStatus], ref_template="#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "title": f"Values of {Keys().status}",
        "$ref": "#/$defs/DeviceStatus",
        "$defs": schemas,
        "examples": [json.loads(status_json(STATUS))],
    }


def _schemas(ref: str) -> dict[str, Document]:
    """The schema of each kind of entry, with its examples."""
    examples = entry_examples()
    return {
        name: schema | ({"examples": examples[name]} if name in examples else {})
        for name, schema in entry_schemas(ref).items()
    }


def asyncapi() -> Document:
    """The streams as channels: the gateway receives commands, and sends events and telemetry."""
    messages = sorted(name for _, names in CHANNELS.values() for name in names)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "telgw",
            "version": version("teltonika-gateway"),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "description": "Redis streams between a Teltonika gateway and the business plane. "
            "An entry is flat; every value is a string. Every stream name may begin with the key prefix. "
            "The value of the field IMEI of the hash connections:registry is the instance_id of the gateway "
            "that holds the device. With several shards of telemetry the stream telemetry:records is "
            "telemetry:records:{shard} for each of them, and telemetry:undecodable likewise for AVL frames; "
            "the fields of the hash telemetry:shards are the numbers of shards whose streams are to be read.",
        },
        "servers": {"redis": {"host": "127.0.0.1:6379", "protocol": "redis"}},
        "defaultContentType": "application/json",
        "channels": {channel: _channel(*about) for channel, about in CHANNELS.items()},
        "operations": {channel: _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {name: _message(name) for name in messages},
            "schemas": entry_schemas("#/components/schemas/{name}"),
        },
    }


_INSTANCE = (
    "The gateway that holds the device. A command with offline=wait for a device that no gateway holds, and "
    "its cancel, may go to any one that is alive: a field of the hash instances:known for which the key "
    "instance:heartbeat:{instance_id} exists."
)


def _channel(address: str, names: tuple[str, ...]) -> Document:
    channel: Document = {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    if "{instance_id}" in address:
        channel["parameters"] = {"instance_id": {"description": _INSTANCE}}
    return channel


def _message(name: str) -> Document:
    examples = [{"payload": example} for example in entry_examples()[name]]
    return {"payload": {"$ref": f"#/components/schemas/{name}"}, "examples": examples}


def _operation(channel: str) -> Document:
    action = "receive" if channel == "commandsOutbound" else "send"
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
