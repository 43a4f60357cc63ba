"""At each heartbeat the registry is compared with the connected devices, and mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fsm.registration import Registered, RegisterResult
from store.client.errors import CallFailed
from transport.daemon import recurring
from transport.daemon.recurring import reconcile


class Registrar:
    """Notes what it is asked, and answers every registration in the same way."""

    def __init__(self, status: Registered = Registered.SUPERSEDED, differing: Sequence[str] = ()) -> None:
        self.status = status
        self.known_to_differ = differing
        self.compared: dict[str, str] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.away = False
        self.leaving: dict[str, Any] = {}

    async def differing(self, values: Mapping[str, str]) -> list[str]:
        self.leaving.clear()
        if self.away:
            raise CallFailed("refused")
        self.compared |= values
        return [imei for imei in values if imei in self.known_to_differ]

    async def reconcile(self, sessions: list[tuple[str, str, str]]) -> list[RegisterResult]:
        self.asked += sessions
        return [RegisterResult(self.status, "gw-2") for _ in sessions]


class Sessions:
    """Devices that are connected, and what they are told."""

    def __init__(self, *imeis: str, held: Sequence[str] = ()) -> None:
        self.by_imei = {
            imei: SimpleNamespace(imei=imei, session_id=f"s-{imei}", claimant="peer", held=imei in held)
            for imei in imeis
        }
        self.told: list[tuple[str, str, RegisterResult]] = []
        self.refreshed: list[str] = []
        self.status = SimpleNamespace(refresh=lambda links: self.refreshed.extend(x.imei for x in links))

    def reconciled(self, session_id: str, imei: str, result: RegisterResult) -> None:
        self.told.append((session_id, imei, result))


async def run(sessions: Sessions, registrar: Registrar, *, everything: bool = False) -> bool:
    return await reconcile(cast(Any, sessions), cast(Any, registrar), everything=everything)


async def test_only_what_differs_is_registered_again() -> None:
    sessions, registrar = Sessions("1", "2", "3"), Registrar(differing=["2"])
    assert await run(sessions, registrar)
    assert registrar.compared == {imei: f"s-{imei} peer" for imei in "123"}
    assert registrar.asked == [("2", "s-2", "peer")]
    assert sessions.told == [("s-2", "2", RegisterResult(Registered.SUPERSEDED, "gw-2"))]
    assert sessions.refreshed == ["1", "2", "3"]


async def test_a_session_that_is_held_is_always_registered_again() -> None:
    """Who else has claimed the device is not in what is compared."""
    registrar = Registrar()
    assert await run(Sessions("1", "2", held=["2"]), registrar)
    assert (list(registrar.compared), registrar.asked) == (["1"], [("2", "s-2", "peer")])


async def test_after_a_lapse_everything_is_registered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurring, "RECONCILE", 2)
    registrar = Registrar()
    assert await run(Sessions("1", "2", "3"), registrar, everything=True)
    assert ([imei for imei, _, _ in registrar.asked], registrar.compared) == (["1", "2", "3"], {})


async def test_a_registry_that_cannot_be_read_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurring, "RECONCILE", 2)
    registrar = Registrar(Registered.FAILED)
    registrar.away = True
    assert not await run(Sessions("1", "2", "3"), registrar)
    assert [imei for imei, _, _ in registrar.asked] == ["1", "2", "3"]


async def test_a_device_that_left_is_not_registered_again() -> None:
    sessions, registrar = Sessions("1"), Registrar(differing=["1"])
    registrar.leaving = sessions.by_imei
    assert await run(sessions, registrar)
    assert (list(registrar.compared), registrar.asked, sessions.told) == (["1"], [], [])
