"""``telgw top`` on a running gateway: what it shows, and what its keys do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from store.client.client import connect
from store.keys import Keys
from tests.redis.live_gateway import IMEI, Device, running, told
from transport.cli.live.app import Top
from transport.cli.live.details import Details
from transport.cli.live.dialogs import CancelDialog, SendDialog
from transport.cli.live.feed import Feed
from transport.cli.live.tables import Listing
from transport.cli.times import Times

pytestmark = [pytest.mark.redis, pytest.mark.timeout(90)]

KEYS = Keys()
SIZES = [(80, 24), (250, 80)]


@asynccontextmanager
async def shown(redis_url: str, size: tuple[int, int] = SIZES[0]) -> AsyncIterator[Pilot[None]]:
    """The application, after its first reading."""
    client = connect(redis_url, purpose="top", block=1.0)
    try:
        async with Top(Feed(client, KEYS), "", Times(True)).run_test(size=size) as pilot:
            await until(pilot, lambda: top(pilot).up_to_date)
            yield pilot
    finally:
        await client.aclose()


@pytest.fixture
async def device(redis_url: str) -> AsyncIterator[Device]:
    """A device that is connected to a gateway and has reported."""
    async with running(redis_url) as (_, address), Device.at(*address) as device:
        await device.name_itself()
        assert await device.report() == 1
        yield device


def top(pilot: Pilot[None]) -> Top:
    assert isinstance(pilot.app, Top)
    return pilot.app


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await pilot.pause(0.02)


def rows(pilot: Pilot[None], table: str) -> list[list[str]]:
    listing = top(pilot).screen_stack[0].query_one(f"#{table}", Listing)
    return [[str(cell) for cell in listing.get_row_at(place)] for place in range(listing.row_count)]


def text(pilot: Pilot[None], name: str) -> str:
    return str(pilot.app.screen.query_one(f"#{name}", Static).render())


@pytest.mark.parametrize("size", SIZES)
async def test_the_tabs_show_gateways_devices_commands_and_events(
    client: Redis, redis_url: str, device: Device, size: tuple[int, int]
) -> None:
    await client.xgroup_create(KEYS.responses, "directus", mkstream=True)
    async with shown(redis_url, size) as pilot:
        assert "1 gateway " in text(pilot, "summary")
        assert [row[0] for row in rows(pilot, "instances")] == ["gw-1"]
        assert rows(pilot, "consumers")[0][:2] == ["commands:responses", "directus"]
        await pilot.press("2")
        await until(pilot, lambda: rows(pilot, "devices-table"))
        assert rows(pilot, "devices-table")[0][:2] == [IMEI, "online"]
        await ask(client, "c-1")
        await device.command()
        await pilot.press("3")
        await until(pilot, lambda: [row[1] for row in rows(pilot, "flight")] == ["sent"])
        assert rows(pilot, "flight")[0][2:5] == [IMEI, "c-1", "sent, waits for the answer"]
        await pilot.press("4")
        feed = pilot.app.query_one("#feed")
        await until(pilot, lambda: any("c-1" in line.text for line in feed.lines))  # type: ignore[attr-defined]


async def test_a_command_is_sent_after_a_confirmation_that_names_the_vehicle(
    redis_url: str, device: Device
) -> None:
    async with shown(redis_url) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: rows(pilot, "devices-table"))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SendDialog))
        await pilot.press(*"getinfo", "enter")
        assert IMEI in text(pilot, "question")
        await pilot.click("#yes")
        assert (await device.command()).payload == b"getinfo"
        device.answer(b"all is well")
        await until(pilot, lambda: isinstance(pilot.app.screen, Details))
        await until(pilot, lambda: "all is well" in body(pilot))
        await pilot.press("escape")
        assert len(pilot.app.screen_stack) == 1


async def test_the_harmless_answer_is_the_one_that_enter_gives(
    client: Redis, redis_url: str, device: Device
) -> None:
    async with shown(redis_url) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: rows(pilot, "devices-table"))
        await pilot.press("s", *"setdigout", "enter", "enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
    assert await client.xlen(KEYS.outbound("gw-1")) == 0


async def test_a_queued_command_can_be_cancelled(client: Redis, redis_url: str, device: Device) -> None:
    await ask(client, "c-1")
    await device.command()
    await ask(client, "c-2")
    async with shown(redis_url) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: [row[3] for row in rows(pilot, "flight")] == ["c-1", "c-2"])
        await pilot.press("down", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CancelDialog))
        await pilot.click("#yes")
        await until(pilot, lambda: isinstance(pilot.app.screen, Details) and "cancelled" in body(pilot))


async def test_the_confirmation_of_a_cancellation_names_the_vehicle_however_long_the_id_is(
    client: Redis, redis_url: str, device: Device
) -> None:
    await ask(client, "c" * 64)
    async with shown(redis_url) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: rows(pilot, "flight"))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CancelDialog))
        question = pilot.app.screen.query(Static).first()
        await until(pilot, lambda: question.size.height > 0)
        assert f"{IMEI}?" in "".join(question.render_line(y).text for y in range(question.size.height))


async def test_a_filter_finds_a_device_and_escape_shows_all_again(client: Redis, redis_url: str) -> None:
    await client.hset(KEYS.registry, mapping={f"35209308145{number:04}": "gw-9" for number in range(600)})
    async with shown(redis_url) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: len(rows(pilot, "devices-table")) == 500)
        assert "the first 500 are shown" in text(pilot, "devices-count")
        await pilot.press("slash", *"0599")
        await until(pilot, lambda: [row[0] for row in rows(pilot, "devices-table")] == ["352093081450599"])
        await pilot.press("escape")
        await until(pilot, lambda: len(rows(pilot, "devices-table")) == 500)


async def test_what_is_typed_before_the_filter_is_shown_belongs_to_it(client: Redis, redis_url: str) -> None:
    await client.hset(KEYS.registry, mapping={f"35209308145{number:04}": "gw-9" for number in range(20)})
    async with shown(redis_url) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: len(rows(pilot, "devices-table")) == 20)
        for key, character in (("slash", "/"), *((digit, digit) for digit in "0013")):
            pilot.app.post_message(Key(key, character))
        await until(pilot, lambda: [row[0] for row in rows(pilot, "devices-table")] == ["352093081450013"])
        assert "1 pass the filter" in text(pilot, "devices-count")


async def test_a_narrow_terminal_shows_that_it_is_paused(client: Redis, redis_url: str) -> None:
    await client.hset(KEYS.instances, mapping={"gw-1": "1", "gw-2": "1"})
    async with shown(redis_url) as pilot:
        await pilot.press("p")
        line = pilot.app.query_one("#summary").render_line(0).text
        assert "paused" in line
        assert "2 without a heartbeat" in line
        assert line.endswith("…")


async def test_text_from_outside_is_neither_markup_nor_a_control_sequence(
    client: Redis, redis_url: str
) -> None:
    await client.hset(KEYS.instances, "[red]\x1b[31mgw", "1")
    async with shown(redis_url) as pilot:
        assert rows(pilot, "instances")[0][0] == "[red]\\x1b[31mgw"


async def test_without_redis_the_last_picture_stays_under_the_error(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    async with shown(redis_url) as pilot:
        reader: Any = top(pilot)._feed._overviews
        monkeypatch.setattr(reader, "_client", connect("redis://127.0.0.1:1", purpose="nobody"))
        await until(pilot, lambda: "last known below" in text(pilot, "summary"))
        assert [row[0] for row in rows(pilot, "instances")] == ["gw-1"]


async def ask(client: Redis, command_id: str) -> None:
    fields: Any = {"command_id": command_id, "imei": IMEI, "payload": "getver"}
    await client.xadd(KEYS.outbound("gw-1"), fields)
    await told(client, ("command_id", command_id))


def body(pilot: Pilot[None]) -> str:
    """What a dialog of details shows."""
    from rich.console import Console

    shown = pilot.app.screen.query_one("#body", Static).content
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()
