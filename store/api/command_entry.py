"""The entry of a command on an outbound stream, built from values and validated as a gateway validates it."""

from __future__ import annotations

import uuid
from typing import TypedDict, Unpack

from fsm.outbound import FIELD_LIMIT, Limits, parse_entry
from store.streams.events import rfc3339


class CommandOptions(TypedDict, total=False):
    """What a producer may say of a command beside its device and its text; all of it may be left out.

    ``command_id`` is a new UUID by default. ``codec`` is ``12`` or ``14``. ``response_timeout`` and
    ``expires_in`` are in seconds, from the write and from now. With ``expect_response=False`` no answer is
    awaited. A policy of the gateway may require ``confirm``, and a ``confirmed_by`` that names another person
    than ``requested_by``. With ``offline="wait"`` a device that is connected nowhere is waited for until the
    command expires. The other fields, ``confirmed_by`` included, are repeated in every event.
    """

    command_id: str | None
    codec: str | None
    response_timeout: float | None
    expires_in: float | None
    expect_response: bool
    confirm: bool
    offline: str | None
    requested_by: str | None
    confirmed_by: str | None
    correlation_id: str | None
    traceparent: str | None
    retry_of: str | None


def command_entry(
    imei: str, payload: str, *, now_ms: int, **options: Unpack[CommandOptions]
) -> dict[str, str]:
    """The fields of the entry; what is not given is left to the gateway.

    Args:
        now_ms: epoch ms, by the clock of Redis if ``expires_in`` is given.

    Raises:
        InvalidCommand: a gateway would refuse it. The length of the text is not judged, because its limit is
            a setting of the gateway.
    """
    fields = {"imei": imei, "payload": payload, **_options(now_ms, **options)}
    raw = {name.encode(): value.encode(errors="surrogateescape") for name, value in fields.items()}
    limits = Limits(max_payload=FIELD_LIMIT)
    parse_entry(raw, instance_id="", outbound_id=f"{now_ms}-0", now_ms=now_ms, limits=limits)
    return fields


def _options(
    now_ms: int,
    *,
    command_id: str | None = None,
    response_timeout: float | None = None,
    expires_in: float | None = None,
    expect_response: bool = True,
    confirm: bool = False,
    **texts: str | None,
) -> dict[str, str]:
    """The options as fields."""
    fields = {
        "command_id": str(uuid.uuid4()) if command_id is None else command_id,
        "response_timeout": None if response_timeout is None else f"{response_timeout:.3f}",
        "expires_at": None if expires_in is None else rfc3339(now_ms + round(expires_in * 1000)),
        "expect_response": None if expect_response else "0",
        "confirm": "1" if confirm else None,
        **texts,
    }
    return {name: value for name, value in fields.items() if value is not None}
