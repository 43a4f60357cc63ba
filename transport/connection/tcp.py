"""What the kernel knows of a TCP connection, and how listening sockets are made."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import socket
import ssl
import struct
import sys

from fsm.errors import GatewayFault
from fsm.reasons import CONNECTION_RESET, DEVICE_CLOSED, NETWORK_TIMEOUT, PROTOCOL_ERROR

BACKLOG = 4096
ACCEPTED_AT_ONCE = 8
"""Connections accepted on a port in one turn of the event loop, so that other events get their turn."""
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 60, 15, 4
USER_TIMEOUT_MS = 60_000
RECEIVE_BUFFER = 32 * 1024
"""Bytes that the kernel is asked to keep of a connection that is not read (Linux doubles them), in place
of the megabytes to which it lets them grow. A device sends 1280 at a time."""
RESERVED_DESCRIPTORS = 100
OWN_DESCRIPTORS = 48
"""File descriptors of the gateway itself: about thirty while metrics are read, with a margin."""
UNLIMITED_DESCRIPTORS = 1_000_000
_TIOCOUTQ = 0x5411
_UNREACHABLE = frozenset(
    (
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENONET,
    )
)
"""Errors that the kernel reports when the network to the peer fails, without a packet of the peer."""


class TooFewDescriptors(GatewayFault):
    """A process may open so few files that there would be no room for devices."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The limit of open files is {limit}; a gateway needs {OWN_DESCRIPTORS} for itself and one for"
            " each device. Raise it: ulimit -n, LimitNOFILE=, or ulimits of the container."
        )
        self.limit = limit


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as it goes; how many connections fit beside our own files.

    Raises:
        TooFewDescriptors: none does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return UNLIMITED_DESCRIPTORS
    if hard <= OWN_DESCRIPTORS:
        raise TooFewDescriptors(hard)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - min(RESERVED_DESCRIPTORS, max(OWN_DESCRIPTORS, hard // 2))


def has_spare_descriptor() -> bool:
    """Whether a connection could be accepted now: not every event loop tells of it when it cannot."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def bind(host: str, port: int, *, v6_only: bool = False) -> socket.socket:
    """A bound socket, not listening yet, whose connections notice a dead peer: they inherit its options.

    Keepalive alone does not help once data is unacknowledged, the user timeout alone not while the link is
    idle: both are set. Mobile links stall for tens of seconds without being dead, hence 60 s. What is written
    goes out at once.

    Args:
        v6_only: leave the port free for IPv4, if `host` is an address of IPv6.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if v6_only:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def close_reason(error: Exception | None) -> str:
    """Why a connection ended by itself, from the error that the event loop reports.

    No error is an end of the stream (FIN). A time-out is the kernel's: keepalive probes or written bytes that
    nobody acknowledged, or a router that says that the host is unreachable. An error of TLS is about what the
    device has sent. Anything else, RST and a write after it included, is a connection that the other side or
    something on the way has broken off.
    """
    if error is None:
        return DEVICE_CLOSED
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno in _UNREACHABLE):
        return NETWORK_TIMEOUT
    return PROTOCOL_ERROR if isinstance(error, ssl.SSLError) else CONNECTION_RESET


def unacknowledged(transport: asyncio.Transport) -> int | None:
    """Bytes written and not yet acknowledged by the peer's TCP; None where it cannot be told.

    Over TLS it cannot: the kernel counts other bytes than were written. Behind a proxy that ends TCP it is
    the proxy's word.
    """
    if sys.platform != "linux" or transport.get_extra_info("sslcontext") is not None:
        return None
    sock = transport.get_extra_info("socket")
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _TIOCOUTQ, b"\0\0\0\0"))
    except (OSError, ValueError, AttributeError):
        return None
    return int(queued) + transport.get_write_buffer_size()
