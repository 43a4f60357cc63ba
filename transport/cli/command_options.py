"""The options that say how a command is sent, and the entry that they make."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, BinaryIO

import click

from fsm.errors import InvalidCommand
from fsm.outbound import FAIL, FIELD_LIMIT, WAIT, Limits
from store.api.command_entry import command_entry

from .options import Decorated
from .parameters import Duration

STDIN = "-"
SLACK = 60.0
"""Seconds that `send` waits for the terminal event beyond the time-outs of the command."""

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--codec",
        type=click.Choice(["12", "14"]),
        help="How it is sent.  [default: 12; 14 if the device sends serial-port data]",
    ),
    click.option(
        "--timeout",
        type=Duration(0.1, 3600),
        help="Time the device has to answer, from the write.  [default: --response-timeout of the gateway]",
    ),
    click.option(
        "--expires-in",
        "--expires",
        "expires_in",
        type=Duration(0.1, 30 * 86400),
        help="Not sent later than this from now.  [default: --command-ttl of the gateway]",
    ),
    click.option(
        "--offline",
        type=click.Choice([FAIL, WAIT]),
        default=FAIL,
        show_default=True,
        help="What to do if the device is connected nowhere: fail, or wait for it until the command expires.",
    ),
    click.option(
        "--no-answer",
        is_flag=True,
        help="Await no answer: delivered once the device's TCP has acknowledged it.",
    ),
    click.option("--confirm", is_flag=True, help="Send it although a policy asks for a confirmation."),
    click.option(
        "--requested-by",
        help="Who asks for it; repeated in its events.  [default: telgw send]",
        metavar="NAME",
    ),
    click.option(
        "--confirmed-by",
        help="Another person, who has confirmed it: a policy may ask for one. Needs --requested-by.",
        metavar="NAME",
    ),
)

_NAMES = {
    "imei": "IMEI",
    "payload": "TEXT",
    "command_id": "--command-id",
    "expires_at": "--expires-in",
    "confirmed_by": "--confirmed-by",
}


def with_command_options(verb: Decorated) -> Decorated:
    """Add the options that say how a command is sent; `given` reads them."""
    decorated: Decorated = reduce(lambda found, option: option(found), reversed(_OPTIONS), verb)
    return decorated


def read_line(stream: BinaryIO) -> str:
    """The only line of `stream`, without its line break. It is validated later, like any other text.

    Raises:
        click.UsageError: there is no line, more than one, or a line too long for any gateway.
    """
    data = stream.read(FIELD_LIMIT + 3)
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise click.UsageError("TEXT is empty: with - it is read from standard input.")
    if len(line) > FIELD_LIMIT:
        raise click.UsageError("TEXT is longer than 64 KiB.")
    if b"\n" in line:
        raise click.UsageError("TEXT has more than one line.")
    return line.decode(errors="surrogateescape")


def time_limit(options: dict[str, Any]) -> float:
    """Seconds within which a gateway ends the command."""
    ttl = options["expires_in"] or Limits().command_ttl
    return float(ttl + (options["timeout"] or Limits().response_timeout) + SLACK)


def entry(now_ms: int, **options: Any) -> dict[str, str]:
    """The outbound entry of a command, from these options. `now_ms` is the time of Redis.

    Raises:
        click.UsageError: a gateway would refuse it.
    """
    try:
        return command_entry(now_ms=now_ms, **given(**options))
    except InvalidCommand as error:
        raise click.UsageError(f"{_NAMES.get(error.field, error.field)} {error.problem}.") from None


def given(
    *,
    imei: str,
    text: str,
    codec: str | None = None,
    timeout: float | None = None,
    expires_in: float | None = None,
    no_answer: bool = False,
    confirm: bool = False,
    requested_by: str | None = None,
    confirmed_by: str | None = None,
    offline: str = FAIL,
    command_id: str | None = None,
) -> dict[str, Any]:
    """The options as those of `Gateways.send`."""
    return {
        "imei": imei,
        "payload": text,
        "requested_by": requested_by or "telgw send",
        "confirmed_by": confirmed_by,
        "codec": codec,
        "response_timeout": timeout,
        "expires_in": expires_in,
        "expect_response": not no_answer,
        "confirm": confirm,
        "offline": WAIT if offline == WAIT else None,
        "command_id": command_id,
    }
