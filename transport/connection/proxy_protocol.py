"""The PROXY protocol, versions 1 and 2: a header in which a proxy gives the address of the client.

    v1   PROXY TCP4 198.51.100.22 203.0.113.7 35646 5027 CR LF     or TCP6, UNKNOWN; 107 bytes at most
    v2   signature (12) | version, command (1) | family, protocol (1) | length (2) | addresses | TLVs

Source: "The PROXY protocol" of HAProxy 2.6 (doc/proxy-protocol.txt), sections 2.1 and 2.2.

The reader is sans-I/O: bytes in, a header or an error out. It uses no part of a header before it has the
whole, and it keeps `HEADER_LIMIT` bytes at most. A peer that may send a header can claim any address, so the
listener decides which peers may.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import Struct

from fastcrc.crc32 import iscsi as crc32c

from fsm.errors import DeviceFault

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
WORD = b"PROXY "
V1_LIMIT = 107
"""Longest header of version 1, with its CR LF."""
V2_LIMIT = 4096
"""Longest part of a header of version 2 after its length field. The protocol allows 65,535; the longest
header that proxies send, with the data of a client certificate, has some hundreds."""
_V2_HEAD = len(SIGNATURE) + 4
HEADER_LIMIT = _V2_HEAD + V2_LIMIT

_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5}))\r\n"
)
_PORT = re.compile(rb"0|[1-9]\d*")
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_STREAM, _DGRAM = 1, 2
_TLV = Struct(">BH")
_CRC32C = 0x03

Address = tuple[str, int]


class BadProxyHeader(DeviceFault):
    """The bytes are not a valid PROXY header.

    ``reason`` is a stable word: ``signature`` (not a header), ``line`` (version 1), ``version``,
    ``command``, ``family``, ``length``, ``tlv``, ``checksum``, ``too_long``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(slots=True, frozen=True)
class Header:
    """A complete header.

    Attributes:
        source: address and port of the client. None if the header has none (LOCAL, UNSPEC, UNKNOWN, a Unix
            socket): then use the address of the connection itself.
        local: the connection is the proxy's own, for example a health check.
    """

    source: Address | None
    local: bool = False


class HeaderReader:
    """Reads one header from chunks of any size.

    ``rest`` holds the bytes after it, once it is complete. A reader is used once: do not feed it again after
    it returned a header or raised.
    """

    __slots__ = ("_head", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._head = b""

    def feed(self, data: bytes) -> Header | None:
        """Return the header once it is complete; None if more bytes are needed.

        Raises:
            BadProxyHeader: at the first byte that cannot be part of a header.
        """
        head = self._head + data
        if head[: len(SIGNATURE)] == SIGNATURE[: len(head)]:
            measure, read = _v2_size, _v2
        elif head[: len(WORD)] == WORD[: len(head)]:
            measure, read = _v1_size, _v1
        else:
            raise BadProxyHeader("signature", "The connection does not begin with a PROXY header.")
        size = measure(head)
        if not size:
            self._head = head
            return None
        self.rest = head[size:]
        return read(head[:size])


def _v1_size(head: bytes) -> int:
    """Length of the line; 0 if not known yet."""
    end = head.find(b"\r\n", 0, V1_LIMIT)
    if end < 0 and len(head) >= V1_LIMIT:
        raise BadProxyHeader("too_long", f"The line of a PROXY header has {V1_LIMIT} bytes at most.")
    return end + 2 if end >= 0 else 0


def _v1(head: bytes) -> Header:
    match = _V1.fullmatch(head)
    if match is None:
        raise BadProxyHeader("line", "The line of a PROXY header violates the protocol.")
    version, *fields = match.groups()
    if version is None:
        return Header(None)
    source, destination, source_port, destination_port = fields
    hosts = [_host(version, host) for host in (source, destination)]
    ports = [_port(port) for port in (source_port, destination_port)]
    return Header((hosts[0], ports[0]))


def _host(version: bytes, text: bytes) -> str:
    kind = IPv4Address if version == b"4" else IPv6Address
    try:
        return _as_text(kind(text.decode("ascii")))
    except (AddressValueError, UnicodeDecodeError):
        raise BadProxyHeader("line", "An address of a PROXY header is not one of its family.") from None


def _as_text(host: IPv4Address | IPv6Address) -> str:
    """An address as text; an IPv4 address within IPv6 as IPv4, so that both count as the same."""
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return str(mapped or host)


def _port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise BadProxyHeader("line", "A port of a PROXY header is not a number from 0 to 65535.")
    return int(text)


def _v2_size(head: bytes) -> int:
    """Length of the header; 0 if it is not complete yet."""
    if len(head) > 12 and head[12] >> 4 != 2:
        raise BadProxyHeader("version", f"A binary PROXY header has version {head[12] >> 4}, not 2.")
    if len(head) > 12 and head[12] & 15 not in (_LOCAL, _PROXY):
        raise BadProxyHeader("command", f"A PROXY header has the command {head[12] & 15} instead of 0 or 1.")
    if len(head) < _V2_HEAD:
        return 0
    length = int.from_bytes(head[14:16], "big")
    if length > V2_LIMIT:
        raise BadProxyHeader("too_long", f"A PROXY header declares {length} bytes; the limit is {V2_LIMIT}.")
    return _V2_HEAD + length if len(head) >= _V2_HEAD + length else 0


def _v2(head: bytes) -> Header:
    if head[12] & 15 == _LOCAL:
        return Header(None, local=True)  # the protocol says to ignore the addresses
    family, kind = head[13] >> 4, head[13] & 15
    sizes = {(_UNSPEC, 0): 0, (_INET, _STREAM): 12, (_INET6, _STREAM): 36, (_UNIX, _STREAM): 216}
    size = sizes.get((family, kind))
    if size is None:
        raise BadProxyHeader("family", f"A PROXY header has the family {head[13]:#04x}, which is not TCP.")
    addresses = head[_V2_HEAD : _V2_HEAD + size]
    if len(addresses) < size:
        raise BadProxyHeader("length", f"A PROXY header has {len(addresses)} address bytes, not {size}.")
    if family != _UNSPEC:
        _check_tlvs(head, _V2_HEAD + size)
    if family in (_UNSPEC, _UNIX):
        return Header(None)
    width = 4 if family == _INET else 16
    host = IPv4Address(addresses[:width]) if family == _INET else IPv6Address(addresses[:width])
    return Header((_as_text(host), int.from_bytes(addresses[2 * width : 2 * width + 2], "big")))


def _check_tlvs(head: bytes, at: int) -> None:
    """Check that the TLVs fill the header, and its checksum if it has one. No other TLV is used."""
    while at < len(head):
        if at + _TLV.size > len(head):
            raise BadProxyHeader("tlv", "A TLV of a PROXY header is incomplete.")
        kind, length = _TLV.unpack_from(head, at)
        at += _TLV.size
        if at + length > len(head):
            raise BadProxyHeader("tlv", "A TLV of a PROXY header is longer than the header.")
        if kind == _CRC32C:
            _check_crc(head, at, length)
        at += length


def _check_crc(head: bytes, at: int, length: int) -> None:
    blank = head[:at] + bytes(length) + head[at + length :]
    if length != 4 or int.from_bytes(head[at : at + 4], "big") != crc32c(blank):
        raise BadProxyHeader("checksum", "The checksum of a PROXY header is wrong.")
