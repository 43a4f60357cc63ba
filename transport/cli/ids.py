"""Types of ids in options and arguments: how each is checked, and completed from what Redis has."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem

from fsm.outbound import COMMAND_ID, IMEI

from . import completion, parameters
from .parameters import Kind


class Imei(Kind):
    """15 digits."""

    name = "imei"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not IMEI.fullmatch(str(value)):
            self.fail(f"{value!r} is not 15 digits.", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The devices that Redis knows."""
        return _found(ctx, incomplete, completion.imeis)


class CommandId(Kind):
    """1 to 64 of ``A-Za-z0-9._:-``."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not COMMAND_ID.fullmatch(str(value)):
            self.fail(f"{value!r} is not 1 to 64 of A-Z a-z 0-9 . _ : -", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The commands of the newest events."""
        return _found(ctx, incomplete, completion.command_ids)


class InstanceId(parameters.InstanceId):
    """The id of a gateway."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The gateways that Redis knows."""
        return _found(ctx, incomplete, completion.instance_ids)


class DeadLetterId(Kind):
    """The id of an entry of the dead-letter stream."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not parameters.ENTRY_ID.fullmatch(str(value)):
            self.fail(f"{value!r} is not an entry id such as 1700000000000-0.", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The newest dead letters."""
        return _found(ctx, incomplete, completion.dead_letter_ids)


def complete_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the first of several words as an IMEI."""
    return [] if ctx.params.get(param.name or "") else Imei().shell_complete(ctx, param, incomplete)


def _found(ctx: click.Context, incomplete: str, find: completion.Find) -> list[CompletionItem]:
    """What is found in time. A shell that completes shows no error, whatever is wrong."""
    names: list[str] = []
    with suppress(Exception, click.exceptions.Exit):
        completion.search(ctx, incomplete, find, names)
    return [CompletionItem(name) for name in names[: completion.MOST]]
