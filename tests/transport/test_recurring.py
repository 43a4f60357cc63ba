"""At each heartbeat the connected devices are registered again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from fsm.registration import Registered, RegisterResult
from transport.daemon.recurring import reconcile_some


class Registrar:
    """Notes what it is asked and answers that every device is held elsewhere."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def reconcile(self, sessions: list[tuple[str, str, str]]) -> list[RegisterResult]:
        self.asked += sessions
        return [RegisterResult(Registered.SUPERSEDED, "gw-2") for _ in sessions]


async def test_a_device_that_left_is_not_registered_again() -> None:
    registrar, closed = Registrar(), []
    here = SimpleNamespace(imei="1", session_id="s-1", claimant="peer", speaks=False)
    sessions = SimpleNamespace(by_imei={"1": here}, reconciled=lambda *told: closed.append(told))
    await reconcile_some(cast(Any, sessions), cast(Any, registrar), ["1", "2"])
    assert registrar.asked == [("1", "s-1", "peer")]
    assert closed == [("s-1", "1", RegisterResult(Registered.SUPERSEDED, "gw-2"))]
