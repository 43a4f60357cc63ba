"""Several gateways on the same addresses, one process each, and the process that keeps them alive.

One process uses one core. With `--workers` each core gets a gateway of its own, with an instance id of its
own: ``{instance_id}-1`` to ``-N``. All bind the same addresses with SO_REUSEPORT, so the kernel spreads new
connections over them. Workers share nothing but Redis, and all rules for gateways on different hosts hold
between them: a device that comes back on another worker is moved like one that comes back on another host.

The supervisor serves no device. It keeps a worker for each number alive, kills one that hangs, passes signals
on, answers for all workers on the address of the metrics, and owns the embedded server. If it is killed, the
workers notice that their standard input has ended, and stop in order.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog

from store.embedded import EmbeddedServer
from transport.connection.tcp import bind
from transport.daemon.addresses import CannotListen, OnReady, shares_port
from transport.daemon.embedded_watch import watch
from transport.daemon.exit_statuses import EXIT_CRASHED
from transport.daemon.milestones import IMPATIENT
from transport.daemon.process import until_up
from transport.daemon.service_manager import ASKED_EVERY, Serves, ServiceManager
from transport.daemon.signals import Signals
from transport.daemon.worker import Worker
from transport.daemon.worker_pages import WorkerPages, serve_pages
from transport.daemon.worker_watch import kill_if_it_hangs
from transport.restarts import Restarts
from transport.settings import Address, Settings, as_text

log = structlog.get_logger("telgw")

RESTARTS, WITHIN = 3, 60.0
"""Restarts of one worker within this number of seconds, at most."""
PAUSES = (0.1, 1.0, 3.0)
"""Seconds before the first, the second and the third restart."""
FINAL = (2, 3)
"""Exit statuses of a worker that another start would not change: it cannot start, it was displaced."""


async def supervise(
    settings: Settings,
    program: Sequence[str],
    *,
    on_ready: OnReady | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run `settings.workers` gateways until SIGTERM, SIGINT or `stop`; the exit status.

    Returns 0 after an orderly stop, 1 if a worker died too often, or the status of a worker that another
    start would not help.

    Args:
        program: command line of a worker; it gets its settings on standard input.
        on_ready: called with the addresses when devices can connect to each worker.

    Raises:
        GatewayFault: an address cannot be bound, or the embedded server does not start.
    """
    stop = stop or asyncio.Event()
    manager = ServiceManager()
    signals = Signals(stop.set)
    with ExitStack() as stack:
        stack.callback(signals.restore)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telgw-")))
        settings, reserved = reserve(settings)
        for sock in reserved:
            stack.callback(sock.close)
        embedded: EmbeddedServer | None = None
        if settings.redis == "embedded":
            embedded = EmbeddedServer.begin(settings.state_dir, settings.embedded_port)
            stack.callback(embedded.stop)
            await until_up(embedded, stop)
            settings = replace(settings, redis=embedded.url, embedded_port=0)
        workers = [
            Worker(number, worker_settings(settings, number, directory), program)
            for number in range(1, settings.workers + 1)
        ]
        supervisor = Supervisor(workers, stop, manager)
        signals.on(signal.SIGHUP, supervisor.reload)
        signals.last = partial(supervisor.send, signal.SIGKILL)
        pages = WorkerPages(workers)
        server = await serve_pages(settings.metrics, pages)
        if server:
            stack.callback(server.stop)
        if on_ready:
            telling = asyncio.create_task(_tell(pages.listening, on_ready, settings), name="ready")
            stack.callback(telling.cancel)
        async with manager.told(supervisor.state, pages.listening):
            return await supervisor.run(settings, embedded, server.address if server else "off")


async def _tell(serves: Serves, on_ready: OnReady, settings: Settings) -> None:
    while True:
        if await serves():
            on_ready(list(settings.listen))
            return
        await asyncio.sleep(ASKED_EVERY)


def worker_settings(settings: Settings, number: int, directory: Path) -> Settings:
    """The settings of one worker. It serves its pages on a socket in `directory`, for the supervisor."""
    return replace(
        settings,
        instance_id=f"{settings.instance_id}-{number}",
        worker=number,
        metrics=directory / str(number),
    )


def reserve(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """The settings with the ports that were chosen for port 0, and bound sockets that keep all ports.

    A bound socket that does not listen gets no connections.

    Raises:
        CannotListen: an address is in use, or is not one of this host.
    """
    reserved: list[socket.socket] = []
    chosen: dict[Address | None, Address] = {}

    def keep(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        found = tuple((host, _reserve(settings, host, port, reserved)) for host, port in addresses)
        chosen.update(zip(addresses, found, strict=True))
        return found

    try:
        bound = replace(
            settings,
            listen=keep(settings.listen),
            tls_listen=keep(settings.tls_listen),
            proxy_listen=keep(settings.proxy_listen),
            tls_proxy_listen=keep(settings.tls_proxy_listen),
            allow_from=tuple(
                item._replace(listener=chosen.get(item.listener)) for item in settings.allow_from
            ),
        )
    except CannotListen:
        for sock in reserved:
            sock.close()
        raise
    return bound, reserved


def _reserve(settings: Settings, host: str, port: int, reserved: list[socket.socket]) -> int:
    v6_only = shares_port(settings, host, port)
    try:
        # Another supervisor of this user could bind the same port with SO_REUSEPORT, and get half of our
        # devices. Without the option the kernel refuses a port on which somebody listens.
        bind(host, port, v6_only=v6_only).close()
        sock = bind(host, port, v6_only=v6_only, reuse_port=True)
    except OSError as error:
        raise CannotListen(host, port, error) from error
    reserved.append(sock)
    return int(sock.getsockname()[1])


async def _run(worker: Worker) -> int:
    """Start the process of a worker, and wait for its end, which comes also if it hangs; its exit status."""
    watch = asyncio.create_task(kill_if_it_hangs(worker), name=f"watch on worker {worker.number}")
    try:
        return await worker.run()
    finally:
        watch.cancel()


class Supervisor:
    """Keeps workers alive until `stop` is set."""

    def __init__(self, workers: Sequence[Worker], stop: asyncio.Event, manager: ServiceManager) -> None:
        self._workers = workers
        self._stop = stop
        self._manager = manager
        self._exit_status = 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal to each worker that runs."""
        for worker in self._workers:
            worker.send(number)

    def reload(self) -> None:
        """Let each worker read its files again; nobody hears when that is over."""
        self._manager.reloading()
        self.send(signal.SIGHUP)
        self._manager.ready()

    def state(self) -> str:
        """What the workers do, in one line."""
        return f"Workers: {sum(worker.running for worker in self._workers)} of {len(self._workers)} run."

    async def run(self, settings: Settings, embedded: EmbeddedServer | None, metrics: str = "off") -> int:
        """Keep the workers alive until stopped, then stop them in order; the exit status."""
        listen = [as_text(address) for address in settings.listeners]
        log.info(
            "supervising",
            workers=len(self._workers),
            listen=listen,
            metrics=metrics,
            version=version("teltonika-gateway"),
        )
        keepers = [
            asyncio.create_task(self._keep(worker), name=f"worker {worker.number}")
            for worker in self._workers
        ]
        watchers = [asyncio.create_task(self._watch(embedded), name="embedded server")] if embedded else []
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([*keepers, *watchers, stop], return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        self._manager.stopping()
        running = sum(worker.running for worker in self._workers)
        log.info(
            "stopping",
            workers=running,
            waits_for="the workers, which say what they wait for",
            meaning=IMPATIENT,
        )
        self.send(signal.SIGTERM)
        await self._ended(keepers)
        for watcher in watchers:  # the workers need the server until they have ended
            watcher.cancel()
        await self._ended(watchers)
        log.info("stopped", exit_status=self._exit_status)
        return self._exit_status

    async def _ended(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for the end of tasks. One that failed gives a failure as the exit status."""
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.critical("task_failed", exc_info=result)
                self._exit_status = self._exit_status or EXIT_CRASHED

    async def _watch(self, embedded: EmbeddedServer) -> None:
        """Keep the embedded server alive; return when it has died too often."""

        def failed() -> None:
            self._exit_status = EXIT_CRASHED

        await watch(embedded, failed)

    async def _keep(self, worker: Worker) -> None:
        """Run a worker, and run it again when it ends; return when all have to end."""
        restarts = Restarts(RESTARTS, WITHIN, PAUSES)
        while not self._stop.is_set():
            status = await _run(worker)
            if self._stop.is_set():
                self._note_end(status)
                return
            pause = None if status in FINAL else restarts.next(asyncio.get_running_loop().time())
            log.warning(
                "worker_ended", worker=worker.number, exit_status=status, started_again=pause is not None
            )
            if pause is None:
                self._exit_status = status if status in FINAL else EXIT_CRASHED
                return
            worker.restarts += 1
            await self._sleep(pause)

    def _note_end(self, status: int) -> None:
        # A worker that has not set its handlers yet is ended by the signal itself.
        if status not in (0, -signal.SIGTERM):
            self._exit_status = self._exit_status or EXIT_CRASHED

    async def _sleep(self, pause: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stop.wait()
