"""A cluster of three nodes, whose slots can be moved and whose nodes can have replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import REDIS_SERVER
from tests.redis.nodes import HOST, Node, until
from tests.rig.ports import free_port

NODE_TIMEOUT_MS = 1000
SLOTS = 16384


class Sharded:
    """A cluster of three nodes without replicas; each serves a third of the slots.

    Attributes:
        replicas: of each node, once it has one.
    """

    def __init__(self, directory: Path, stack: ExitStack, server: Path) -> None:
        self._directory = directory
        self._stack = stack
        self._server = server
        self.replicas: dict[Node, Node] = {}
        self.nodes = [self._start(f"node-{number}") for number in range(3)]
        self.ids = {node: node.client.execute_command("CLUSTER MYID").decode() for node in self.nodes}
        third = -(-SLOTS // 3)
        for number, node in enumerate(self.nodes):
            last = min((number + 1) * third, SLOTS) - 1
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", number * third, last)
            self._meet(node)
        self.url = "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        self.agreed()

    def _start(self, name: str) -> Node:
        node = Node(
            self._directory / name,
            *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
            *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"),
            *("--cluster-require-full-coverage", "no"),
            server=self._server,
        )
        self._stack.callback(node.end)
        return node.start()

    def _meet(self, node: Node) -> None:
        """Make a node known to the first one, and so to all."""
        bus = node.client.config_get("cluster-port")["cluster-port"]
        self.nodes[0].client.execute_command("CLUSTER MEET", HOST, node.port, bus)

    def agreed(self) -> None:
        """Wait until every node serves and all say the same of every slot."""

        def is_so() -> bool:
            views = {str(sorted(self._slots(node))) for node in self.nodes}
            states = {node.client.execute_command("CLUSTER INFO")["cluster_state"] for node in self.nodes}
            return len(views) == 1 and states == {"ok"}

        until(is_so, "a cluster of one mind")

    def _slots(self, node: Node) -> list[tuple[int, int, int]]:
        found: Any = node.client.execute_command("CLUSTER SLOTS")
        return [(first, last, owner[1]) for first, last, owner, *_ in found]

    def slot(self, key: str) -> int:
        """Where a key lies."""
        found: int = next(node for node in self.nodes if node.alive).client.execute_command(
            "CLUSTER KEYSLOT", key
        )
        return found

    def owner(self, key: str) -> Node:
        """The node that serves `key`."""
        slot = self.slot(key)
        everyone = (*self.nodes, *self.replicas.values())
        slots = self._slots(next(node for node in everyone if node.alive))
        port = next(port for first, last, port in slots if first <= slot <= last)
        return next(node for node in everyone if node.port == port)

    def other(self, key: str) -> Node:
        """A node that does not."""
        owner = self.owner(key)
        return next(node for node in self.nodes if node is not owner)

    def moving(self, key: str, target: Node) -> Moving:
        """Begin to move the slot of `key`."""
        return Moving(self, self.slot(key), self.owner(key), target)

    def replicate(self, node: Node) -> Node:
        """A new node that follows another, and takes its place when that dies."""
        replica = self.replicas[node] = self._start(f"replica-{len(self.replicas)}")
        self._meet(replica)
        until(lambda: self.ids[node] in str(replica.client.execute_command("CLUSTER NODES")), "a meeting")
        replica.client.execute_command("CLUSTER REPLICATE", self.ids[node])
        return replica

    def in_step(self, node: Node, replica: Node) -> None:
        """Wait until a replica has all that its node has, and all nodes know of it."""

        def is_so() -> bool:
            role = replica.client.role()
            return role[3:] == [b"connected", node.client.info("replication")["master_repl_offset"]] and all(
                str(replica.port) in str(other.client.execute_command("CLUSTER SLOTS"))
                for other in self.nodes
            )

        until(is_so, "a replica in step")


class Moving:
    """A slot on its way from one node to another, key by key."""

    def __init__(self, nodes: Sharded, slot: int, source: Node, target: Node) -> None:
        self.source = source
        self.target = target
        self._nodes = nodes
        self._slot = slot
        for node, state, other in ((target, "IMPORTING", source), (source, "MIGRATING", target)):
            node.client.execute_command("CLUSTER SETSLOT", slot, state, nodes.ids[other])

    def keys(self) -> list[bytes]:
        """What is still on the old node."""
        found: list[bytes] = self.source.client.execute_command("CLUSTER GETKEYSINSLOT", self._slot, 10_000)
        return found

    def move_key(self, key: str | bytes) -> None:
        """Move one key, with all it holds."""
        self.source.client.execute_command("MIGRATE", HOST, self.target.port, key, 0, 5000)

    def move(self, count: int | None = None) -> None:
        """Move some keys, or all there are."""
        for key in self.keys()[:count]:
            self.move_key(key)

    def end(self) -> None:
        """The slot belongs to the new node."""
        assert self.keys() == []
        for node in (self.target, self.source):
            node.client.execute_command("CLUSTER SETSLOT", self._slot, "NODE", self._nodes.ids[self.target])
        self._nodes.agreed()


@contextmanager
def sharded(directory: Path, *, server: Path = REDIS_SERVER, replicated: bool = False) -> Iterator[Sharded]:
    """A cluster; if it is replicated, of six nodes."""
    with ExitStack() as stack:
        nodes = Sharded(directory, stack, server)
        if replicated:
            for node in nodes.nodes:
                nodes.in_step(node, nodes.replicate(node))
        yield nodes
