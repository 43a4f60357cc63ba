"""``telgw policy``: what a policy says about a command, without sending it."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import click

from fsm.command_policy import Policy, Rule, read_policy
from fsm.outbound import PRINTABLE
from transport.teltonika.avl_ids import DEFAULT_FAMILY, families_of

from .command_options import STDIN, read_line

ALLOWED, DENIED = 0, 1


@click.command(short_help="Say what a policy decides about a command.")
@click.argument("action", type=click.Choice(["check"]))
@click.argument("text", required=False)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    envvar="TELGW_POLICY",
    show_envvar=True,
    help="The file of --policy.",
)
@click.option("--imei", default="", help="The device.")
@click.option("--family", default=DEFAULT_FAMILY, show_default=True, help="Its family or model.")
def command(action: str, text: str | None, path: Path, imei: str, family: str) -> int:
    """Check the policy, and say which of its rules decides about the command TEXT.

    If TEXT is -, it is read from standard input; without TEXT only the file is checked.

    Exit status: 0 allowed, or the file is right; 1 not allowed; 2 wrong use, or a wrong file.
    """
    policy = read_policy(path.read_text(encoding="utf-8-sig"), path.name)
    if text is None:
        click.echo(f"{path}: {len(policy.rules)} rules; any other text is {_word(policy.default)}.")
        return ALLOWED
    if text == STDIN:
        text = read_line(sys.stdin.buffer if sys.stdin else BytesIO())
    if not PRINTABLE.fullmatch(text):
        raise click.UsageError("TEXT holds a character that is not printable ASCII.")
    rule = _rule(policy, text, imei, family)
    click.echo(f"{_word(rule)} by rule {rule.name}{_conditions(rule)}")
    return ALLOWED if rule.allows else DENIED


def _rule(policy: Policy, text: str, imei: str, family: str) -> Rule:
    return policy.rule_for(text.encode("ascii"), imei, families_of(family))


def _word(rule: Rule) -> str:
    return "allowed" if rule.allows else "not allowed"


def _conditions(rule: Rule) -> str:
    parts = ["with confirm=1"] if rule.confirm else []
    if rule.two_persons:
        parts.append("with two persons in requested_by and confirmed_by")
    if rule.rate is not None:
        parts.append(f"at most {rule.rate[0]} in {rule.rate[1]:g} s for each device")
    return "".join(f", {part}" for part in parts)
