"""``telgw schema``: the entries of the streams as JSON Schema and AsyncAPI."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import click

from store.keys import Keys

from .schemas import entry_schemas

Document = dict[str, Any]

CHANNELS = {
    "commandsOutbound": (Keys().outbound("{instance_id}"), ("Command", "Cancel")),
    "commandsResponses": (Keys().responses, ("CommandEvent", "Note", "SessionEvent")),
    "telemetryRecords": (Keys().telemetry, ("TelemetryRecord",)),
    "telemetryMessages": (Keys().messages, ("DeviceMessage",)),
}
"""Streams, and the kinds of entries on each."""


@click.command(short_help="Print the JSON Schema or the AsyncAPI document of the streams.")
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="An AsyncAPI 3.0 document.")
def command(as_asyncapi: bool) -> None:
    """Print the JSON Schema of the stream entries, or an AsyncAPI document of the streams."""
    click.echo(json.dumps(asyncapi() if as_asyncapi else json_schema(), indent=2))


def json_schema() -> Document:
    """One JSON Schema that every entry of the streams fulfils. Its parts are under ``$defs``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stream entries of telgw",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for _, names in CHANNELS.values() for name in names],
        "$defs": entry_schemas("#/$defs/{name}"),
    }


def asyncapi() -> Document:
    """The streams as channels: the gateway receives commands, and sends events and telemetry."""
    messages = {name for _, names in CHANNELS.values() for name in names}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "telgw",
            "version": version("teltonika-gateway"),
            "description": "Redis streams between a Teltonika gateway and the business plane. "
            "An entry is flat; every value is a string. Every stream name may begin with the key prefix.",
        },
        "channels": {channel: _channel(*about) for channel, about in CHANNELS.items()},
        "operations": {channel: _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {
                name: {"payload": {"$ref": f"#/components/schemas/{name}"}} for name in sorted(messages)
            },
            "schemas": entry_schemas("#/components/schemas/{name}"),
        },
    }


def _channel(address: str, names: tuple[str, ...]) -> Document:
    channel: Document = {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    if "{instance_id}" in address:
        channel["parameters"] = {"instance_id": {"description": "The gateway that holds the device."}}
    return channel


def _operation(channel: str) -> Document:
    action = "receive" if channel == "commandsOutbound" else "send"
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
