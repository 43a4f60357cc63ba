"""The pages of a supervisor: what its workers say on their own pages, in one.

Each worker is asked when the page is asked for. A worker that does not answer within `TIMEOUT` is left out,
and `teltonika_worker_up` says so. Every sample gets the label ``worker``, so a sum is right with and without
workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from transport.daemon.http_pages import CONTENT_TYPE, NOT_LISTENING, Page, PageServer
from transport.daemon.worker import Worker
from transport.settings import Address

TIMEOUT = 2.0
"""Seconds that a worker has for an answer."""
PAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer; a page of metrics has about 20,000."""

Answer = tuple[int, str]
"""A status of HTTP and a body."""


async def serve_pages(address: Address | Path | None, pages: WorkerPages) -> PageServer | None:
    """Serve the pages; None if they are off.

    Raises:
        CannotServeMetrics: the address is in use, or is not an address of this host.
    """
    if address is None or isinstance(address, Path):
        return None
    server = PageServer({"/metrics": pages.metrics, "/healthz": pages.health, "/readyz": pages.readiness})
    await server.start(*address)
    return server


class WorkerPages:
    """Makes the pages."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    async def metrics(self) -> Page:
        """The metrics of all workers."""
        answers = await self._ask("/metrics")
        registry = CollectorRegistry()
        registry.register(_Merged(self._workers, answers))
        return Page(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE)

    async def health(self) -> Page:
        """Whether the event loop of each worker turns. A worker that is being started again is no fault."""
        running = [worker.number for worker in self._workers if worker.running]
        answers = await self._ask("/healthz")
        silent = [number for number in running if number not in answers]
        if not silent:
            return Page(HTTPStatus.OK, b"ok\n")
        return _unavailable(f"Worker {number} does not answer." for number in silent)

    async def readiness(self) -> Page:
        """Whether devices and commands are served: one ready worker is enough for new connections."""
        answers = await self._ask("/readyz")
        if any(status == HTTPStatus.OK for status, _ in answers.values()):
            return Page(HTTPStatus.OK, b"ready\n")
        return _unavailable(
            f"Worker {worker.number}: {line}"
            for worker in self._workers
            for line in answers.get(worker.number, (0, "It does not answer."))[1].splitlines()
        )

    async def listening(self) -> bool:
        """Whether devices can connect to any worker."""
        answers = await self._ask("/readyz")
        return any(NOT_LISTENING not in text for _, text in answers.values())

    async def _ask(self, path: str) -> dict[int, Answer]:
        """The answers of the workers that answer, by their numbers."""
        answers = await asyncio.gather(*(_fetch(worker.pages, path) for worker in self._workers))
        pairs = zip(self._workers, answers, strict=True)
        return {worker.number: answer for worker, answer in pairs if answer is not None}


async def answers(worker: Worker) -> bool:
    """Whether the event loop of a worker turns: it answers on its own page within `TIMEOUT`."""
    return await _fetch(worker.pages, "/healthz") is not None


def _unavailable(sentences: Iterable[str]) -> Page:
    text = "".join(f"{sentence}\n" for sentence in sentences)
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, text.encode("ascii", errors="replace"))


async def _fetch(socket: Path, path: str) -> Answer | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode("ascii"))
                head, _, body = (await _all(reader)).partition(b"\r\n\r\n")
            finally:
                writer.close()
            return int(head.split(maxsplit=2)[1]), body.decode()
    except (OSError, ValueError, IndexError):  # a time-out is an OSError
        return None


async def _all(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while part := await reader.read(65536):
        data += part
        if len(data) > PAGE_LIMIT:
            raise ValueError("too long")
    return bytes(data)


class _Merged(Collector):
    """The metrics of workers as one set of families, each sample with the label ``worker``."""

    def __init__(self, workers: Sequence[Worker], answers: Mapping[int, Answer]) -> None:
        self._workers = workers
        self._answers = answers

    def collect(self) -> Iterable[Metric]:
        yield from self._of_supervisor()
        families: dict[str, Metric] = {}
        for number, (_, text) in self._answers.items():
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {"worker": str(number), **sample.labels}
                    merged.add_sample(sample.name, labels, sample.value)
        yield from families.values()

    def _of_supervisor(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "teltonika_worker_up", "Whether the worker answers: 1 or 0", labels=("worker",)
        )
        restarts = CounterMetricFamily(
            "teltonika_worker_restarts_total", "Restarts of the worker", labels=("worker",)
        )
        for worker in self._workers:
            label = (str(worker.number),)
            up.add_metric(label, float(worker.number in self._answers))
            restarts.add_metric(label, worker.restarts)
        yield up
        yield restarts
