"""The command line: ``telgw VERB``. Each verb is one file, which is imported when the verb is used.

An error is one line on stderr, ``telgw: ...``. Exit statuses: 0 success; 1 the verb ran but its result is
negative; 2 wrong use, or a file, a port or Redis cannot be used; 3 the outcome of a command is unknown; 130
interrupted. The help of a verb lists its own statuses.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from io import FileIO, TextIOWrapper
from traceback import print_exc
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from fsm.errors import GatewayError
from store.client.url import redacted
from transport.garbage import start_without_collections

from .ending import complain, leave, undecided
from .stderr import JSON

VERBS = {
    "run": "Run a gateway.",
    "demo": "Run a gateway, five simulated trackers and eight commands for a few seconds.",
    "simulate": "Connect simulated trackers to a gateway.",
    "send": "Send a command to a device and follow it to its end.",
    "cancel": "Cancel a command that is not sent yet.",
    "top": "Show a live view of gateways, devices, commands and events.",
    "devices": "Show who is online, where, since when, and what is known of a device.",
    "commands": "Show the commands in flight and what they wait for, or those that have ended.",
    "watch": "Print the events of commands and sessions, from some time on and as they arrive.",
    "history": "Show the events of a command and its path, or all events of a device.",
    "dead-letters": "Show entries that became no commands, and put them back.",
    "records": "Show the records of a device, or its track on a map.",
    "report": "Write a page about commands, devices and outages of the last day or any time.",
    "trace": "Show the bytes of a device as they come and go, decoded frame by frame.",
    "avl": "Look up an AVL id, by its number or a part of its name.",
    "policy": "Say what a policy decides about a command.",
    "bench": "Measure what a gateway costs on this machine.",
    "check": "Check Redis, the gateways on it and this host.",
    "diagrams": "Draw the state machines as Mermaid text and SVG.",
    "schema": "Print the JSON Schema or the AsyncAPI document of the streams.",
    "config": "Print a configuration file with every option and its default.",
    "version": "Print the version.",
}
"""Every verb and what it does. The help reads it from here and imports no verb."""

UNDECIDED, INTERRUPTED = 3, 130
COMPLETING = "_TELGW_COMPLETE"
"""Set by the shell that completes a line."""

_URL = re.compile(r"(?:rediss?(?:\+\w+)?|unix)://(?![,.]?(?:\s|$))\S*|[^\s'\"(]*:[^\s@]*@\S*", re.IGNORECASE)
"""A URL of Redis, or what may be a mistyped one: a user and a password before an ``@``."""


class Telgw(click.Group):
    """A group that imports the module of a verb when the verb is used, and reports errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(
            f"transport.cli.{cmd_name.replace('-', '_')}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = not args or args[0] in VERBS or ctx.resilient_parsing  # the last while a shell completes
        if not known and (near := get_close_matches(args[0].lower(), VERBS, 1)):
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs with what they do, without an import of one, and the options of all."""
        verbs = [
            CompletionItem(name, help=text) for name, text in VERBS.items() if name.startswith(incomplete)
        ]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = "telgw", *_: Any, **extra: Any
    ) -> NoReturn:
        """Run the verb that `args` name and exit."""
        extra["standalone_mode"] = False
        sys.exit(self._status(args, **extra))

    def _status(self, args: Sequence[str] | None, **extra: Any) -> int:
        if COMPLETING in os.environ:
            return self._complete(args, **extra)
        undecided()
        try:
            status = self._run(args, **extra)
        except Exception:
            if not (unknown := undecided()):
                raise
            with suppress(OSError, AttributeError):
                print_exc()
        else:
            if not (unknown := undecided()):
                return status
        complain(unknown, as_json=_wants_json(args))
        return UNDECIDED

    def _complete(self, args: Sequence[str] | None, **extra: Any) -> int:
        """Answer a shell that completes a line; it gets no error, whatever is wrong."""
        try:
            super().main(args, "telgw", **extra)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except Exception:
            return 1
        return 0

    def _run(self, args: Sequence[str] | None, **extra: Any) -> int:
        """Run the verb and report its errors; its exit status."""
        try:
            result = super().main(args, "telgw", **extra)
        except click.Abort:
            return INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return 2
        except click.ClickException as error:
            return _complain(_describe(error), args)
        except (BrokenPipeError, SystemExit):  # click turns the first into the second
            # Nobody reads our output any more. What is left in the buffers must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (GatewayError, OSError) as error:
            return _complain(str(error) or type(error).__name__, args)
        return result if isinstance(result, int) else 0


def _complain(sentence: str, args: Sequence[str] | None) -> int:
    complain(_without_urls(sentence), as_json=_wants_json(args))
    return 2


def _wants_json(args: Sequence[str] | None) -> bool:
    """Whether the line asks for JSON; known also when it cannot be read."""
    return JSON in (sys.argv[1:] if args is None else args)


def _without_urls(sentence: str) -> str:
    """`sentence` without passwords: an error of click repeats a URL that was given in a wrong position."""
    begin = _URL.search(sentence)
    if begin is None:
        return sentence
    before, url, after = sentence[: begin.start()], begin[0], sentence[begin.end() :]
    core = url.rstrip("'\").,")
    shown = redacted(core)
    if shown.endswith("***"):  # its end is unknown, because a password may hold blanks
        return before + shown
    return before + shown + url[len(core) :] + _without_urls(after)


def _describe(error: click.ClickException) -> str:
    """What is wrong. If the value came from the configuration file, the sentence begins with its name."""
    sentence = error.format_message()
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return sentence
    source = error.ctx.get_parameter_source(error.param.name or "")
    if source is ParameterSource.DEFAULT_MAP:
        return f"{error.ctx.meta.get('telgw.config', 'the configuration')}: {sentence}"
    return sentence


@click.command(cls=Telgw, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="teltonika-gateway", prog_name="telgw")
def cli() -> None:
    """A TCP gateway for Teltonika trackers: telemetry to Redis, commands to devices."""


def main() -> NoReturn:
    """Entry point of ``telgw``."""
    start_without_collections()
    _hold_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that a terminal cannot show becomes a ?
            stream.reconfigure(errors="replace")
    try:
        cli.main()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 1)


def _hold_standard_descriptors() -> None:
    """Open standard descriptors that are closed: else a socket gets the number, and output is sent over it.

    They are opened for reading, so that printing fails as it would on a closed descriptor.
    """
    while (lowest := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(lowest)
    if sys.stdout is None:
        sys.stdout = TextIOWrapper(FileIO(1, "w", closefd=False), write_through=True)
