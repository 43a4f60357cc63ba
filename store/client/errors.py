"""What a call to Redis can end in, and the one place where errors of redis-py become ours.

    StoreError
    ├── CallFailed       the call did not go through: no connection, a lost one, no reply, a server not ready
    │   ├── NotLetIn     the server refuses the connection: its login, its database, the server's mode
    │   └── NotOwnerYet
    └── StoreRefused     the server was reached and answered with an error

Only this package knows the exceptions of redis-py (and `store.embedded`, which runs before there is a loop).
A caller asks two things of an error: whether waiting helps (`is_transient`), and of a `CallFailed` whether
the call may have been carried out (`outcome`). Any other exception is a bug and is not caught.
"""

from __future__ import annotations

import re
from enum import StrEnum

from redis import exceptions as driver

from fsm.errors import GatewayFault

_NOT_NOW = re.compile(
    r"\b(OOM|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|LOADING|BUSY|TRYAGAIN|UNBLOCKED|ASK|MOVED)\b"
    r"|non local key|while the cluster is down"
)
# Words by which a server says "not now". An error that passed through a script has them within its text, and
# a script that meets a key of a slot on the move says so in words of its own.

_CODES: dict[type[Exception], str] = {
    driver.MovedError: "MOVED",  # which is an AskError
    driver.AskError: "ASK",
    driver.AuthenticationWrongNumberOfArgsError: "ERR",
    driver.AuthenticationError: "WRONGPASS",
    driver.AuthorizationError: "NOAUTH",
    driver.ClusterDownError: "CLUSTERDOWN",
    driver.MasterDownError: "MASTERDOWN",
    driver.NoPermissionError: "NOPERM",
    driver.NoScriptError: "NOSCRIPT",
    driver.OutOfMemoryError: "OOM",
    driver.ReadOnlyError: "READONLY",
    driver.TryAgainError: "TRYAGAIN",
}
# redis-py cuts these words off the text and tells them by the class.

_NEVER_SENT = "_telgw_never_sent"

_NOT_CARRIED_OUT = (
    *(driver.AuthenticationError, driver.AuthenticationWrongNumberOfArgsError, driver.AuthorizationError),
    *(driver.BusyLoadingError, driver.MaxConnectionsError),
)
# Whatever the call was, it had no effect: it met a server that was loading, a connection that had not logged
# in, or no free connection.


class Outcome(StrEnum):
    """What is known of a call that failed."""

    NOT_SENT = "not_sent"
    """It was written to no connection, or the server said that it did nothing."""
    UNKNOWN = "unknown"
    """It may have been carried out."""


class StoreError(GatewayFault):
    """A call to Redis failed.

    ``kind`` names the error in logs and metrics.
    """

    kind: str


class CallFailed(StoreError):
    """A call did not go through. Whether it may be repeated is for its caller to know."""

    def __init__(
        self, text: str = "Redis cannot be reached.", outcome: Outcome = Outcome.UNKNOWN, kind: str = ""
    ) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.kind = kind or type(self).__name__


class NotLetIn(CallFailed):
    """The server was reached and refused the connection, so that nothing could be sent.

    Only an operator can change that, here or at the server. ``code`` is as of a `StoreRefused`.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text, Outcome.NOT_SENT, kind)
        self.code = _code(text)


class NotOwnerYet(CallFailed):
    """The instance id still belongs to an earlier process: this one has not been able to take it over."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Outcome.NOT_SENT)


class StoreRefused(StoreError):
    """The server was reached and answered a call with an error.

    ``code`` is the word by which Redis names it (``NOPERM``, ``WRONGTYPE``, ``ERR``, ...).
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.code = _code(text)
        self.kind = kind or type(self).__name__


def _code(text: str) -> str:
    first = text.partition(" ")[0]
    return first if first.isupper() else "ERR"


_REFUSED_LOGIN = {
    "WRONGPASS": "it refuses the user or the password of the URL",
    "NOAUTH": "it asks for a password, and the URL has none",
}


def plainly(error: StoreError) -> str:
    """Why Redis cannot be used, as a clause for people."""
    code, text = getattr(error, "code", ""), str(error) or type(error).__name__
    if code == "NOPERM":
        return f"its user lacks a right ({text.removeprefix('NOPERM ')})"
    if "DB index is out of range" in text:
        return "it has no database of the number in the URL"
    return _REFUSED_LOGIN.get(code, text)


def is_transient(error: Exception) -> bool:
    """Whether `error` may pass with time, perhaps after an operator acted: it is not about the call."""
    return isinstance(error, CallFailed) or (
        isinstance(error, StoreRefused) and bool(_NOT_NOW.search(str(error)))
    )


def mark_never_sent(error: Exception) -> None:
    """Note on an error of the driver that its call was not written to any connection."""
    setattr(error, _NEVER_SENT, True)


def ours(error: Exception) -> StoreError | None:
    """The error of ours that an error of the driver becomes; None for what no lost connection explains."""
    kind = type(error).__name__
    text = _refusal(error)
    never_sent = getattr(error, _NEVER_SENT, False) or isinstance(error, _NOT_CARRIED_OUT)
    if text and not never_sent:
        return StoreRefused(text, kind)
    if text and not _NOT_NOW.search(text):
        return NotLetIn(text, kind)
    if isinstance(error, driver.DataError):
        return None  # an argument that is no string, number or bytes
    if isinstance(error, driver.RedisError | OSError):
        return CallFailed(str(error) or kind, Outcome.NOT_SENT if never_sent else Outcome.UNKNOWN, kind)
    return None


def _refusal(error: Exception) -> str:
    """The words by which the server refused a call or a connection; empty when it did not."""
    text = str(error) or type(error).__name__
    for known, code in _CODES.items():
        if isinstance(error, known):
            return f"{code} {text}"
    return text if isinstance(error, driver.ResponseError) else ""


class _Translated:
    """Has no state, so one serves all: every call to Redis enters it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and (told := ours(error)) is not None:
            raise told from error


_TRANSLATED = _Translated()


def translated() -> _Translated:
    """Errors of the driver leave the block as a `StoreError`."""
    return _TRANSLATED
