"""What a process tells of its health over HTTP, while Redis is there and while it is not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.rig.code_calls import ROOT
from tests.rig.fleet import fleet, until
from tests.rig.redis import redis_server

RULES = ROOT / "deploy" / "prometheus" / "telgw.rules.yaml"


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """The status and the text of a page."""
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=10) as page:
            return page.status, page.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def counted() -> set[str]:
    """The counters that raise an alarm at their first step: a rate needs a sample before it."""
    return set(re.findall(r"increase\((\w+)[^)]*\) > 0", RULES.read_text(encoding="utf-8")))


async def test_the_pages_tell_whether_the_gateway_and_redis_serve(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    async def page(path: str) -> tuple[int, str]:
        return await asyncio.to_thread(get, unused_tcp_port, path)

    async def ready() -> bool:
        return await page("/readyz") == (200, "ready\n")

    async def without_redis() -> bool:
        return await page("/readyz") == (503, "Redis does not answer.\n")

    async with redis_server(tmp_path) as server, fleet(server.url) as run:
        await run.start(metrics=f"127.0.0.1:{unused_tcp_port}")
        await until(ready, "a gateway that is ready")
        _, metrics = await page("/metrics")
        assert "\nteltonika_redis_up 1.0\n" in metrics
        assert "\nprocess_open_fds " in metrics
        assert "\nteltonika_build_info{version=" in metrics
        assert "_created" not in metrics
        assert re.search(r'\nteltonika_redis_call_seconds_count\{part="heartbeat"\} [1-9]', metrics)
        assert [
            name for name in counted() if re.search(rf"^{name}[ {{]", metrics, re.MULTILINE) is None
        ] == []
        assert (await page("/"))[0] == 404
        assert await asyncio.to_thread(get, unused_tcp_port, "/readyz", "HEAD") == (200, "")

        server.kill()
        await until(without_redis, "a gateway that misses Redis")
        assert await page("/healthz") == (200, "ok\n")
        assert "\nteltonika_redis_up 0.0\n" in (await page("/metrics"))[1]

        await server.start()
        await until(ready, "a gateway that is ready again")
