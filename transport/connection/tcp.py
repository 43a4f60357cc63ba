"""What the kernel knows about a TCP connection, and how listening sockets are made."""

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
"""Bytes that the kernel buffers of a connection that is not read (Linux doubles the number). By default it
would buffer megabytes. A device sends 1280 bytes at a time."""
WRITE_LIMIT = 64 * 1024
"""Bytes that a device may leave unread before its connection is closed: acks and commands are small."""
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
"""Errors that the kernel reports without a packet of the peer: the network to the peer has failed."""


class TooFewDescriptors(GatewayFault):
    """The limit of open files leaves no descriptor for devices."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The limit of open files is {limit}; a gateway needs {OWN_DESCRIPTORS} for itself and one for"
            " each device. Raise it: ulimit -n, LimitNOFILE=, or ulimits of the container."
        )
        self.limit = limit


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as possible; the number of connections that it then allows.

    Raises:
        TooFewDescriptors: it allows none.
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
    """Whether a descriptor for a connection is free: not every event loop reports when it cannot accept."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def bind(host: str, port: int, *, v6_only: bool = False, reuse_port: bool = False) -> socket.socket:
    """A bound socket that does not listen yet. Its connections inherit its options, and detect a dead peer.

    Keepalive works only on an idle connection, and the user time-out only with unacknowledged data: both are
    set. A mobile link can stall for tens of seconds without being dead, hence 60 s. Writes are sent at once.

    Args:
        v6_only: leave the port free for IPv4, if `host` is an IPv6 address.
        reuse_port: other processes of this user may listen on the address as well; the kernel spreads
            connections over them.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
    """The close reason for the error that the event loop reports.

    No error means the end of the stream (FIN). A time-out comes from the kernel: nobody acknowledged
    keepalive probes or written bytes, or a router reported that the host is unreachable. A TLS error is about
    the bytes of the device. Any other error, such as RST or a write after it, means that the peer or
    something on the path has reset the connection.
    """
    if error is None:
        return DEVICE_CLOSED
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno in _UNREACHABLE):
        return NETWORK_TIMEOUT
    return PROTOCOL_ERROR if isinstance(error, ssl.SSLError) else CONNECTION_RESET


def unacknowledged(transport: asyncio.Transport) -> int | None:
    """Bytes that were written and are not acknowledged by the TCP of the peer; None if unknown.

    With TLS it is unknown, because the kernel counts encrypted bytes. Behind a proxy that terminates TCP, the
    acknowledgement is the proxy's.
    """
    if sys.platform != "linux" or transport.get_extra_info("sslcontext") is not None:
        return None
    sock = transport.get_extra_info("socket")
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _TIOCOUTQ, b"\0\0\0\0"))
    except (OSError, ValueError, AttributeError):
        return None
    return int(queued) + transport.get_write_buffer_size()
