"""The page of ``telgw report`` in Chromium: three widths, light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from freezegun.api import FrozenDateTimeFactory

from fsm.reasons import CLOSE_REASONS
from store.keys import Keys
from tests.transport.command_line import Telgw
from tests.transport.test_cli_devices import alive
from tests.transport.test_cli_report import MINUTE, command, session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WIDTHS = (390, 1024, 1600)
SCHEMES = {"dark": "0", "light": "1"}
MEASURE = """
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const texts = [...page.querySelectorAll("svg text")];
    const outside = texts.filter(text => {
      const box = text.getBoundingClientRect(), drawing = text.closest("svg").getBoundingClientRect();
      return box.left < drawing.left - 1 || box.right > drawing.right + 1 || box.top < drawing.top - 1;
    });
    const style = element => frame.contentWindow.getComputedStyle(element);
    return {
      wanted: frame.clientWidth, width: root.scrollWidth, drawings: page.querySelectorAll("svg").length,
      outside: outside.map(text => text.textContent),
      smallest: Math.min(...texts.map(text => text.getBoundingClientRect().height)),
      page: style(page.body).backgroundColor, ink: style(page.body).color,
      bar: style(page.querySelector("svg path[style*=responded]")).fill,
      columns: style(page.querySelector(".cards")).gridTemplateColumns.split(" ").length,
    };
  });
  document.body.textContent = JSON.stringify(found);
});
"""


@pytest.fixture
def page(
    telgw_on_redis: Telgw, fake_server: fakeredis.FakeServer, frozen: FrozenDateTimeFactory, tmp_path: Path
) -> str:
    """A page with all drawings and long names."""
    redis: Any = fakeredis.FakeRedis(server=fake_server)
    alive(redis, "gateway-with-a-long-name-1", "b1")
    for number, reason in enumerate(sorted(CLOSE_REASONS)):
        session(redis, (50 - number) * MINUTE, f"b{number}-1", "closed", reason, instance_id="g" * 64)
    for number in range(20):
        command(redis, 9 * MINUTE, f"c-{number}", "responded", rtt_ms=3**number % 60_000, codec="12")
        command(redis, 9 * MINUTE, f"d-{number}", "failed", reason="device_not_connected")
        command(redis, 9 * MINUTE, f"e-{number}", "timeout", reason="response_timeout")
    redis.xgroup_create(Keys().responses, "a-group-with-a-name-that-is-long", "0")
    file = tmp_path / "report.html"
    assert telgw_on_redis("report", "--out", file, "--since", "1h").exit_code == 0
    return file.read_text(encoding="utf-8")


@pytest.fixture
def browse(page: str, tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """What Chromium says of the page at each width."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    frames = (
        f'<iframe style="width:{width}px;height:900px" srcdoc="{escape(page)}"></iframe>' for width in WIDTHS
    )
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<meta name="color-scheme" content="light dark"><style>iframe {{ border: 0 }}</style>'
        f"<body>{''.join(frames)}<script>{MEASURE}</script>",
        encoding="utf-8",
    )

    def run(scheme: str) -> list[dict[str, Any]]:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom")
        profile = f"--user-data-dir={tmp_path / scheme}"
        chosen = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
        ended = subprocess.run(
            (chromium, *options, profile, chosen, outer.as_uri()),
            capture_output=True, text=True, timeout=120, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        found = re.search(r"<body>(\[.*\])</body>", ended.stdout, re.DOTALL)
        assert found is not None, ended.stdout[-500:]
        measured: list[dict[str, Any]] = json.loads(found[1])
        return measured

    return run


def test_the_page_fits_each_width_in_light_and_in_dark(browse: Callable[[str], list[dict[str, Any]]]) -> None:
    light, dark = browse("light"), browse("dark")
    for found in (light, dark):
        assert [one["wanted"] for one in found] == list(WIDTHS)
        assert [one["width"] for one in found] == list(WIDTHS)  # nothing is wider than the page
        assert [one["columns"] for one in found] == [1, 2, 3]
        assert {one["drawings"] for one in found} == {7}
        assert [one["outside"] for one in found] == [[], [], []]
        assert min(one["smallest"] for one in found) > 8
    for one, other in zip(light, dark, strict=True):
        assert (one["page"], other["page"]) == ("rgb(244, 246, 248)", "rgb(16, 22, 28)")
        assert one["bar"] != other["bar"]
        assert one["ink"] != other["ink"]
