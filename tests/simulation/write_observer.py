"""Somebody inside the server, who sees each write at the moment it is made, with all that it is made upon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

REGISTRY, TOKENS = b"connections:registry", b"connections:sessions"
AWAITED = b"commands:parked"
HEARTBEAT, BOOT = b"instance:heartbeat:", b"instance:boot:"
RESPONSES = b"commands:responses"


class WriteObserver:
    """Reports what the data at rest do not show.

    Attributes:
        decided: commands whose verdict is in Redis.
    """

    def __init__(self, world: World, min_uptime: float) -> None:
        self._world = world
        self._min_uptime = min_uptime
        self.decided: set[str] = set()
        self._sent_before: set[tuple[str, str]] = set()
        self._beaten: dict[bytes, float] = {}
        world.server.watch(self.see)

    def recount(self) -> None:
        """Redis has come back: what it does not know any more was not decided."""
        log = self._world.server.keys.cmd_xrange(RESPONSES, b"-", b"+")
        events = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in log]
        self.decided = {
            one[b"command_id"].decode()
            for one in events
            if one.get(b"kind") == b"command" and one[b"terminal"] == b"1"
        }

    def see(self, name: str, arguments: Sequence[bytes]) -> None:
        """A command is about to be carried out."""
        if name == "XADD" and arguments[0] == RESPONSES:
            fields = [argument.decode() for argument in arguments[arguments.index(b"*") + 1 :]]
            self._event(dict(zip(fields[::2], fields[1::2], strict=True)))
        elif name == "HDEL" and arguments[0] == REGISTRY:
            for imei in arguments[1:]:
                self._unregistered(imei)
        elif name == "HSET" and arguments[0] == TOKENS:
            self._registered(*arguments[1:])
        elif name == "SET" and arguments[0].startswith(HEARTBEAT):
            self._beaten[arguments[0].removeprefix(HEARTBEAT)] = self._world.clock.now
        elif name == "SET" and arguments[0].startswith(BOOT):
            self._owned(arguments[0].removeprefix(BOOT), arguments[1].decode())

    def _event(self, event: dict[str, str]) -> None:
        if event["kind"] != "command":
            return
        if event["terminal"] == "1":
            self.decided.add(event["command_id"])
        if event["trigger"] == "send":
            self._sent(event)
        elif event["reason"] == "gateway_restart" and event["session_id"]:
            self._restarted(event)
        elif event["reason"] == "instance_lost":
            self._lost(event)

    def _sent(self, event: dict[str, str]) -> None:
        """To a device that another instance holds nothing is sent; nor by a process that has a successor.

        Nor is anything sent while commands are parked for the device, which come first.
        An event that is restored because Redis lost it was sent long ago.
        """
        once = (event["command_id"], event["session_id"])
        if once in self._sent_before:
            return
        self._sent_before.add(once)
        where, keys = event["instance_id"], self._world.server.keys
        holder = keys.cmd_hget(REGISTRY, event["imei"].encode())
        if holder and holder.decode() != where and keys.cmd_exists(HEARTBEAT + holder):
            self._tell("holder", f"{event['command_id']} is sent by {where}, held by {holder.decode()}")
        if keys.cmd_zscore(AWAITED, event["imei"].encode()):
            self._tell("P5", f"{event['command_id']} is sent, and older commands of its device are parked")
        owner = keys.cmd_get(BOOT + where.encode())
        if owner and owner.decode() != _process(event["session_id"]):
            self._tell("fence", f"{event['command_id']} is sent by a process of {where} that is replaced")

    def _restarted(self, event: dict[str, str]) -> None:
        """A gateway has restarted when another process sent the command."""
        owner = self._world.server.keys.cmd_get(BOOT + event["instance_id"].encode()) or b""
        if owner.decode() == _process(event["session_id"]):
            self._tell("restart", f"{event['command_id']}: the process that sent it has not restarted")

    def _lost(self, event: dict[str, str]) -> None:
        """Nobody is declared dead who is alive, nor by somebody who cannot know."""
        dead, server = event["instance_id"], self._world.server
        if server.keys.cmd_exists(HEARTBEAT + dead.encode()):
            self._tell("janitor", f"{event['command_id']} is instance_lost, and {dead} has a heartbeat")
        if server.uptime < self._min_uptime:
            text = f"{event['command_id']} is instance_lost {server.uptime:.1f} s after a restart of Redis"
            self._tell("janitor", text)

    def _unregistered(self, imei: bytes) -> None:
        """Only of a session that has ended, or whose gateway stops, counts as dead, or was replaced."""
        keys = self._world.server.keys
        holder, token = keys.cmd_hget(REGISTRY, imei), keys.cmd_hget(TOKENS, imei)
        if not holder or not token or not keys.cmd_exists(HEARTBEAT + holder):
            return
        owner = (keys.cmd_get(BOOT + holder) or b"").decode()
        for process in self._world.alive(holder.decode()):
            replaced = owner not in ("", process.gateway.boot_id)
            if process.open and not replaced and process.serves(token.decode()):
                self._tell(
                    "registry", f"{imei.decode()} is unregistered from its open session {token.decode()}"
                )

    def _registered(self, imei: bytes, token: bytes) -> None:
        """A process that has a successor registers nobody."""
        session_id = token.decode()
        for process in self._world.processes:
            if process.gateway.boot_id == _process(session_id):
                owner = self._world.server.keys.cmd_get(BOOT + process.instance_id.encode())
                if owner and owner.decode() != process.gateway.boot_id:
                    self._tell("fence", f"{imei.decode()} is registered by a process that is replaced")

    def _owned(self, instance: bytes, boot_id: str) -> None:
        """A process takes an id from one that lives by force, or when that has missed its heartbeat."""
        world, name = self._world, instance.decode()
        owner = (world.server.keys.cmd_get(BOOT + instance) or b"").decode()
        if any(one.gateway.boot_id != boot_id for one in world.alive(name)):
            world.history.contested.add(name)
        before, after = world.process_of(owner), world.process_of(boot_id)
        if owner == boot_id or before is None or before.dead or (after is not None and after.forced):
            return
        silent = world.clock.now - self._beaten[instance]
        world.meet("fate", "a silent owner displaced")
        if silent < before.gateway.settings.heartbeat_interval:
            self._tell("displaced", f"{owner} of {name} lives, {silent:.1f} s after its heartbeat: {boot_id}")

    def _tell(self, rule: str, text: str) -> None:
        self._world.fault(rule, text)


def _process(session_id: str) -> str:
    return session_id.rpartition("-")[0]
