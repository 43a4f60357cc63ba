"""How a process ends, politely or not, and what the next one makes of what it left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.process.gateway import IMEI, KEYS, MAIN, TELEMETRY, Bus, Device, Gateway, until

Start = Callable[..., Gateway]
PlugIn = Callable[..., Device]

SILENT, BUSY, ABSENT = IMEI, "352093081452252", "352093081452253"


# SIGTERM


def looks_no_more(bus: Bus) -> bool:
    """Whether the last look at the stream is over: its client, which reads four times a second, is silent."""
    clients = bus.client.client_list()
    idle = [int(client["idle"]) for client in clients if client["name"] == "telgw:gw-1:reader"]
    assert idle, "the gateway has gone"
    return min(idle) >= 1


def leave(gateway: Gateway, plug_in: PlugIn, bus: Bus) -> None:
    """A device was here, and is expected back."""
    plug_in(gateway, ABSENT).hello().socket.close()
    gateway.said("session_closed", imei=ABSENT)
    until(lambda: bus.holder(ABSENT) is None, "the end of its registration")


def test_sigterm_ends_what_waits_and_waits_for_what_is_out(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start()
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    bus.ask("waiting")
    leave(gateway, plug_in, bus)
    bus.ask("absent", ABSENT)
    bus.reached("waiting", "queued")
    bus.reached("absent", "queued")
    gateway.terminate()
    assert bus.ended("waiting") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    assert bus.ended("absent") == ["queued not_sent", "failed gateway_shutdown not_sent"]
    until(lambda: looks_no_more(bus), "the end of all that is done before the drain")
    device.report()
    device.answer("just in time")
    assert gateway.exit_status() == 0
    assert bus.life("out")[-1] == "responded answered"
    assert device.rest() == b""
    bus.empty()
    assert bus.client.exists(KEYS.registry, KEYS.heartbeat("gw-1")) == 0
    assert bus.client.xlen(KEYS.telemetry) == 2
    last = bus.log("session")[-1]
    assert (last["state"], last["reason"]) == ("closed", "shutdown")


def test_sigterm_waits_for_an_answer_only_so_long(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(shutdown_timeout=0.3)
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    gateway.terminate()
    assert gateway.exit_status() == 0
    assert bus.life("out")[-1].startswith("failed gateway_shutdown ")
    bus.empty()


def test_a_command_that_comes_at_the_last_moment_is_answered(start: Start, bus: Bus) -> None:
    gateway = start()
    gateway.terminate()
    bus.ask("late")
    assert gateway.exit_status() == 0
    if not bus.events("late"):  # it came after the last look: the next start finds it
        start(reconnect_grace=0.1)
    assert bus.ended("late")[-1].endswith(" not_sent")
    bus.empty()


def test_a_second_signal_ends_it_at_once(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start()
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    gateway.terminate()
    stopping = gateway.said("stopping")
    assert (stopping["waits_for"], stopping["at_most_s"]) == ("the answer to 1 command", 20)
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.exit_status() == 130
    assert gateway.said_before("ended")


def failing(place: str) -> type[Gateway]:
    """A gateway whose code raises an error that nobody expects when it comes to `place`."""
    main = f"""
from transport.daemon.gateway import Gateway
from transport.daemon.listeners import Listeners

async def fail(*_):
    raise OSError("unexpected")

{place} = fail
{MAIN}
"""
    return type("Failing", (Gateway,), {"main": main, "alarming": ()})


def test_a_started_gateway_never_ends_with_a_start_status(redis_url: str) -> None:
    with failing("Gateway._shut_down")(redis_url) as gateway:
        gateway.terminate()
        assert gateway.exit_status() == 1
        assert "OSError: unexpected" in gateway.lines[-2]["exception"]


def test_a_failed_start_ends_everything_started(redis_url: str) -> None:
    with failing("Listeners.open")(redis_url, ready=False) as gateway:
        assert gateway.exit_status() == 2


def test_sigterm_without_redis_ends_in_time(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(shutdown_timeout=0.2)
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    server = int(bus.client.info("server")["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        gateway.terminate()
        assert gateway.exit_status() == 0
    finally:
        os.kill(server, signal.SIGCONT)
    assert gateway.said_before("unsaved")
    start()
    assert bus.ended("out")[-1] in ("failed gateway_restart maybe_sent", "failed gateway_shutdown received")
    bus.empty()


# SIGKILL


def test_after_a_crash_commands_end_once_and_are_written_once(
    start: Start, plug_in: PlugIn, bus: Bus
) -> None:
    gateway = start()
    silent, busy = plug_in(gateway, SILENT).ready(), plug_in(gateway, BUSY).ready()
    for name in ("s-1", "s-2", "s-3"):
        bus.ask(name, SILENT)
    for name in ("b-1", "b-2"):
        bus.ask(name, BUSY)
    leave(gateway, plug_in, bus)
    bus.ask("a-1", ABSENT)
    silent.command()
    assert [busy.obey(), busy.obey()] == ["b-1", "b-2"]
    for name in ("s-3", "a-1"):
        bus.reached(name, "queued")
    bus.ended("b-2")
    gateway.kill()
    bus.ask("s-4", SILENT)
    gateway = start()
    assert bus.ended("s-1") == ["queued not_sent", "sent maybe_sent", "failed gateway_restart maybe_sent"]
    back, late = plug_in(gateway, SILENT).ready(), plug_in(gateway, ABSENT).ready()
    assert [back.obey(), back.obey(), back.obey()] == ["s-2", "s-3", "s-4"]
    assert late.obey() == "a-1"
    for name in ("s-2", "s-3", "s-4", "a-1", "b-1", "b-2"):
        assert bus.ended(name) == ["queued not_sent", "sent maybe_sent", "responded answered"]
    bus.empty()
    written = silent.texts + busy.texts + back.texts + late.texts
    assert sorted(written) == sorted(set(written))


def test_crashes_at_random_moments_leave_one_terminal_event(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    names = [f"c-{number}" for number in range(60)]
    texts: list[str] = []
    for round in range(3):
        gateway = start(queue_limit=100)
        device = plug_in(gateway).ready()
        for name in names[round * 20 : round * 20 + 20]:
            bus.ask(name)
        for _ in range(5 + round):
            device.obey()
        gateway.kill()
        texts += device.texts
    gateway = start(queue_limit=100)
    device = plug_in(gateway).ready()
    while not all(any(e["terminal"] == "1" for e in bus.events(name)) for name in names):
        if not device.silent(0.05):
            device.obey()
    assert len(texts + device.texts) == len(set(texts + device.texts))
    verdicts = {name: bus.life(name)[-1] for name in names}
    assert set(verdicts.values()) <= {"responded answered", "failed gateway_restart maybe_sent"}
    assert list(verdicts.values()).count("failed gateway_restart maybe_sent") <= 3
    bus.empty()


def test_a_frame_that_was_not_acknowledged_comes_again(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start()
    device = plug_in(gateway).ready()
    device.send(TELEMETRY[:40])
    gateway.kill()
    plug_in(start()).ready()
    assert bus.client.xlen(KEYS.telemetry) == 2


# Redis


def test_an_empty_redis_is_filled_again(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(heartbeat_interval=0.3)
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    bus.ask("waiting")
    bus.reached("waiting", "queued")
    bus.client.flushall()
    device.answer("here")
    until(lambda: bus.events("out"), "the verdict")
    [event] = bus.events("out")
    assert (event["state"], event["response"], event["recovered"]) == ("responded", "here", "1")
    until(lambda: bus.events("waiting"), "the verdict")
    assert bus.events("waiting")[0]["reason"] == "ledger_lost"
    until(lambda: bus.holder() == "gw-1", "the registration")
    assert bus.client.exists(KEYS.heartbeat("gw-1"))
    bus.ask("after")
    assert device.obey() == "after"
    assert bus.ended("after")[-1] == "responded answered"


def test_an_answer_during_an_outage_is_kept(start: Start, plug_in: PlugIn, bus: Bus) -> None:
    gateway = start(heartbeat_interval=0.3)
    device = plug_in(gateway).ready()
    bus.ask("out")
    device.command()
    server = int(bus.client.info("server")["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        device.answer("kept")
        gateway.said("redis_error", part="ledger")
    finally:
        os.kill(server, signal.SIGCONT)
    assert bus.ended("out") == ["queued not_sent", "sent maybe_sent", "responded answered"]
    assert bus.events("out")[-1]["response"] == "kept"
    bus.empty()
