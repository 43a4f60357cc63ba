"""Checks that a server does not let in whoever reaches it."""

from __future__ import annotations

from typing import Any

from store.client.client import connect
from store.client.errors import NotLetIn, StoreError, StoreRefused
from store.client.url import without_login
from store.diagnosis.server import OK, WARNING, Finding
from store.keys import Keys

PASSWORD = "password"
"""The subject of the finding."""


async def diagnose_password(url: str, keys: Keys) -> list[Finding]:
    """Try to read the log without a login.

    A server of Redis that has no password answers other hosts only if its `protected-mode` is off.

    Args:
        url: the URL of the server, with or without a login.
    """
    if url.startswith("unix:"):
        return [Finding(OK, PASSWORD, "a Unix socket: the rights of its file decide who may use it")]
    stranger: Any = connect(without_login(url), purpose="check", key_prefix=keys.prefix)
    try:
        await stranger.xlen(keys.responses)
        protected = (await stranger.config_get("protected-mode")).get("protected-mode")
    except (NotLetIn, StoreRefused) as error:
        return [] if error.code not in _ASKS else [Finding(OK, PASSWORD, "nobody is let in without one")]
    except StoreError:
        return []  # another check has told that it cannot be reached
    finally:
        await stranger.aclose()
    if protected in ("yes", b"yes"):
        return [Finding(OK, PASSWORD, "none, but only this host is let in (protected-mode)")]
    found = "none: whoever reaches the server may read positions, and command every vehicle"
    mend = "Set up the users of docs/contract.md, switch the user `default` off, use a private network."
    return [Finding(WARNING, PASSWORD, found, mend)]


_ASKS = ("NOAUTH", "NOPERM", "WRONGPASS", "DENIED")
