"""A primary and its replica, watched by three sentinels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.redis.nodes import HOST, Node, until

SERVICE = "fleet"
CALM_MS, HASTY_MS = 10_000, 500
"""Milliseconds of silence after which the sentinels take a server for dead. The short time is only for
tests of a failover: on a busy machine a healthy server is silent for half a second now and then."""


class Watched:
    """Two servers, one the replica of the other, and three sentinels."""

    def __init__(self, directory: Path) -> None:
        durable = ("--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0")
        self.nodes = [Node(directory / f"server-{number}", *durable).start() for number in range(2)]
        self.nodes[1].client.replicaof(HOST, self.nodes[0].port)
        self.sentinels = [
            Node(directory / f"sentinel-{number}", config=self._sentinel(number)) for number in range(3)
        ]
        for sentinel in self.sentinels:
            sentinel.start()
        nodes = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{nodes}/{SERVICE}"
        self.in_step()
        until(lambda: all(map(self._is_acquainted, self.sentinels)), "sentinels that know each other")

    @staticmethod
    def _is_acquainted(sentinel: Node) -> bool:
        return {found["flags"] for found in sentinel.client.sentinel_sentinels(SERVICE)} == {"sentinel"}

    def _sentinel(self, number: int) -> Callable[[int, Path], str]:
        """It knows the others from the start, so that no test waits until they find each other."""

        def config(port: int, directory: Path) -> str:
            primary, replica = (node.port for node in self.nodes)
            lines = [
                f"port {port}",
                f"bind {HOST}",
                f"dir {directory}",
                f"sentinel myid {number + 1:040x}",
                f"sentinel monitor {SERVICE} {HOST} {primary} 2",
                f"sentinel down-after-milliseconds {SERVICE} {CALM_MS}",
                f"sentinel failover-timeout {SERVICE} 3000",
                f"sentinel known-replica {SERVICE} {HOST} {replica}",
                *(
                    f"sentinel known-sentinel {SERVICE} {HOST} {other.port} {index + 1:040x}"
                    for index, other in enumerate(self.sentinels)
                    if index != number
                ),
            ]
            return "\n".join(lines) + "\n"

        return config

    @property
    def primary(self) -> Node:
        """Which of the servers takes the writes, if only one does."""
        return until(self._primary, "one primary")

    def _primary(self) -> Node | None:
        found = [node for node in self.nodes if node.client.role()[0] == b"master"]
        return found[0] if len(found) == 1 else None

    @property
    def replica(self) -> Node:
        """The other one."""
        primary = self.primary
        return next(node for node in self.nodes if node is not primary)

    def in_step(self) -> None:
        """Wait until the replica has all that the primary has, and every sentinel has seen all of them so."""
        primary, replica = self.primary, self.replica

        def is_so() -> bool:
            role = replica.client.role()
            return bool(
                role[0] == b"slave"
                and role[2] == primary.port
                and role[3] == b"connected"
                and role[4] == primary.client.info("replication")["master_repl_offset"]
                and all(self._sees(sentinel, primary) for sentinel in self.sentinels)
            )

        until(is_so, "a replica in step")

    def _sees(self, sentinel: Node, primary: Node) -> bool:
        facts = sentinel.client.sentinel_master(SERVICE)
        return bool(
            facts["port"] == primary.port
            and facts["flags"] == "master"
            and [found["flags"] for found in sentinel.client.sentinel_slaves(SERVICE)] == ["slave"]
        )

    def failed_over(self, to: Node) -> None:
        """Let the sentinels replace a silent primary; wait until `to` takes the writes and all say so."""
        known = (HOST.encode(), to.port)
        self._set_down_after(HASTY_MS)
        until(lambda: to.client.role()[0] == b"master", "a promotion")
        until(
            lambda: all(
                sentinel.client.sentinel_get_master_addr_by_name(SERVICE) in (known, (HOST, to.port))
                for sentinel in self.sentinels
            ),
            "sentinels of one mind",
        )
        self._set_down_after(CALM_MS)

    def _set_down_after(self, silence: int) -> None:
        for sentinel in self.sentinels:
            sentinel.client.sentinel_set(SERVICE, "down-after-milliseconds", silence)

    def rejoin(self, node: Node) -> None:
        """Bring a server back as the replica; the sentinels would do so too, after ten seconds."""
        if not node.alive:
            node.start()
        primary = next(other for other in self.nodes if other is not node)
        node.client.replicaof(HOST, primary.port)
        self.in_step()

    def mend(self) -> None:
        """Two servers in step again, whatever has happened."""
        for node in (*self.nodes, *self.sentinels):
            node.thaw()
        (known,) = {sentinel.client.sentinel_master(SERVICE)["port"] for sentinel in self.sentinels}
        for node in self.nodes:
            if node.port != known:
                self.rejoin(node)
        for node in self.nodes:
            node.client.config_set("min-replicas-to-write", 0)

    def end(self) -> None:
        """Kill everything."""
        for node in (*self.sentinels, *self.nodes):
            node.end()


@contextmanager
def watched(directory: Path) -> Iterator[Watched]:
    """Servers behind sentinels."""
    servers = Watched(directory)
    try:
        yield servers
    finally:
        servers.end()
