"""Why a server cannot be reached, in words for people: what the system says about a socket, made a clause.

What the system says is a number, or a sentence that names neither the place nor what is wrong there.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import stat
from contextlib import suppress

_SAID: dict[int, str] = {
    errno.ENOENT: "there is no socket {where}",
    errno.ENOTDIR: "there is no socket {where}",
    errno.ENAMETOOLONG: "the path of the socket is too long: {where}",
    errno.ECONNREFUSED: "nothing listens at {where}",
    errno.ECONNRESET: "{where} has closed the connection",
    errno.EPIPE: "{where} has closed the connection",
    errno.ECONNABORTED: "{where} has closed the connection",
    errno.EHOSTUNREACH: "there is no way to {where} in the network",
    errno.ENETUNREACH: "there is no way to {where} in the network",
    errno.ETIMEDOUT: "{where} does not answer",
    errno.EACCES: "this user may not connect to {where}",
    errno.EPERM: "this user may not connect to {where}",
    errno.EMFILE: "this process has no file descriptor left for {where}",
    errno.ENFILE: "this host has no file descriptor left for {where}",
    errno.EADDRNOTAVAIL: "this host has no address or port left for {where}",
}
_UNKNOWN_NAMES = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_FAIL") if hasattr(socket, name)
)
_NUMBER = re.compile(r"\[Errno (\d+)\]")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "HTTP_REQUEST")


def reason(error: BaseException, where: str) -> str:
    """A clause that says why `where`, a ``HOST:PORT`` or the path of a socket, is not reached."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate of {where} is not accepted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError():
            return _tls(error, where)
        case socket.gaierror():
            host = where.rpartition(":")[0] or where
            if error.errno in _UNKNOWN_NAMES:
                return f"no host is known as {host}"
            return f"the name {host} cannot be looked up now"
        case TimeoutError():
            return f"{where} does not answer"
        case OSError():
            number = _number(error)
            if number == errno.ECONNREFUSED and _is_no_socket(where):
                return f"{where} is not a socket"
            if number in _SAID:
                return _SAID[number].format(where=where)
            return f"{where} cannot be reached: {os.strerror(number) if number else error}"
    return f"{where} cannot be reached: {error or type(error).__name__}"


def cause(error: BaseException) -> OSError | None:
    """The error of the system in whose place `error` was raised; None if there was none."""
    found = error.__cause__ or error.__context__
    return found if isinstance(found, OSError) else None


def _number(error: OSError) -> int | None:
    """Its number. An error about several addresses of one host has one only if all say the same."""
    if error.errno is not None:
        return error.errno
    found = {int(number) for number in _NUMBER.findall(str(error))}
    return found.pop() if len(found) == 1 else None


def _tls(error: ssl.SSLError, where: str) -> str:
    said = str(error.reason or "")
    if said in _NOT_TLS:
        return f"{where} does not speak TLS"
    if "ALERT" in said:
        words = said.partition("ALERT_")[2].replace("_", " ").lower()
        return f"{where} refuses the TLS handshake: {words}"
    words = said.replace("_", " ").lower() or str(error)
    return f"TLS with {where} fails: {words}"


def _is_no_socket(where: str) -> bool:
    """Whether `where` is the path of something else."""
    if not where.startswith("/"):
        return False
    with suppress(OSError):
        return not stat.S_ISSOCK(os.stat(where).st_mode)
    return False
