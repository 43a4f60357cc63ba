"""What the log of a run tells its reader."""

from __future__ import annotations

from collections.abc import Collection

from tests.history import Fields
from tests.rig.fleet import Fleet
from tests.rig.waiting import until


async def told(run: Fleet) -> dict[str, str]:
    """The last event of each command, as ``state reason delivery``."""
    found = {}
    for _, fields in await run.stream(run.keys.responses):
        if fields["kind"] == "command":
            parts = (fields["state"], fields["reason"], fields["delivery"])
            found[fields["command_id"]] = " ".join(filter(None, parts))
    return found


async def ended(run: Fleet, commands: Collection[str], end: str, within: float = 30.0) -> None:
    """Wait until all these commands were last heard of as ``state reason delivery``."""

    async def all_there() -> bool:
        found = await told(run)
        return {found.get(command_id) for command_id in commands} == {end}

    await until(all_there, f"{len(commands)} commands {end}", within)


async def notes(run: Fleet, name: str) -> list[Fields]:
    """The notes of one kind."""
    log = await run.stream(run.keys.responses)
    return [fields for _, fields in log if fields["kind"] == "note" and fields["note"] == name]
