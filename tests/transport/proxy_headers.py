"""PROXY headers, good and bad, as proxies and others send them."""

from __future__ import annotations

from fastcrc.crc32 import iscsi as crc32c

from transport.connection.proxy_protocol import SIGNATURE, V1_LIMIT, V2_LIMIT

V4 = (
    bytes((198, 51, 100, 22))
    + bytes((203, 0, 113, 7))
    + (35646).to_bytes(2, "big")
    + (5027).to_bytes(2, "big")
)
V6 = bytes.fromhex("20010db8" + "00" * 11 + "05") + bytes(15) + b"\1" + V4[8:]
MAPPED = bytes(10) + b"\xff\xff" + V4[:4] + bytes(16) + V4[8:]
NOOP, UNIQUE_ID = b"\x04\0\x02ab", b"\x05\0\0"


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """A header of version 2."""
    size = len(body) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + body


def with_checksum(wrong: int = 0) -> bytes:
    """A header that has the checksum of itself."""
    blank = v2(V4 + NOOP + b"\x03\0\x04" + bytes(4))
    return blank[:-4] + (crc32c(blank) ^ wrong).to_bytes(4, "big")


CLIENT = ("198.51.100.22", 35646)
GOOD = {
    "v1 TCP4": (b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 5027\r\n", CLIENT),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8::5 ::1 35646 5027\r\n", ("2001:db8::5", 35646)),
    "v1 TCP6, mapped": (b"PROXY TCP6 ::ffff:198.51.100.22 ::1 35646 5027\r\n", CLIENT),
    "v1 the longest": (b"PROXY UNKNOWN " + b"f" * (V1_LIMIT - 16) + b"\r\n", None),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 port 0": (b"PROXY TCP4 198.51.100.22 203.0.113.7 0 65535\r\n", ("198.51.100.22", 0)),
    "v2 TCP4": (v2(V4), CLIENT),
    "v2 TCP6": (v2(V6, family=0x21), ("2001:db8::5", 35646)),
    "v2 TCP6, mapped": (v2(MAPPED, family=0x21), CLIENT),
    "v2 TLVs": (v2(V4 + NOOP + UNIQUE_ID), CLIENT),
    "v2 checksum": (with_checksum(), CLIENT),
    "v2 the longest": (v2(V4 + b"\x04" + (V2_LIMIT - 15).to_bytes(2, "big") + bytes(V2_LIMIT - 15)), CLIENT),
    "v2 UNSPEC": (v2(b"", family=0), None),
    "v2 UNSPEC with bytes": (v2(b"whatever", family=0), None),
    "v2 UNIX": (v2(bytes(216), family=0x31), None),
    "v2 LOCAL": (v2(b"", command=0x20, family=0), None),
    "v2 LOCAL with addresses": (v2(V4 + b"\x04\xff", command=0x20), None),
}

BAD = {
    "a handshake": (b"\0\x0f352093081452251", "signature"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "signature"),
    "TLS": (b"\x16\x03\x01", "signature"),
    "a signature that ends otherwise": (SIGNATURE[:-1] + b"\0", "signature"),
    "v1 lower case": (b"proxy TCP4 ", "signature"),
    "v1 another family": (b"PROXY UDP4 198.51.100.22 203.0.113.7 35646 5027\r\n", "line"),
    "v1 IPv6 as TCP4": (b"PROXY TCP4 ::1 ::1 35646 5027\r\n", "line"),
    "v1 IPv4 as TCP6": (b"PROXY TCP6 198.51.100.22 203.0.113.7 1 2\r\n", "line"),
    "v1 the destination": (b"PROXY TCP4 198.51.100.22 203.0.113.999 35646 5027\r\n", "line"),
    "v1 a zone": (b"PROXY TCP6 fe80::1%eth0 ::1 35646 5027\r\n", "line"),
    "v1 a port of six digits": (b"PROXY TCP4 198.51.100.22 203.0.113.7 100000 5027\r\n", "line"),
    "v1 a port too high": (b"PROXY TCP4 198.51.100.22 203.0.113.7 65536 5027\r\n", "line"),
    "v1 a leading zero": (b"PROXY TCP4 198.51.100.22 203.0.113.7 035 5027\r\n", "line"),
    "v1 two blanks": (b"PROXY TCP4  198.51.100.22 203.0.113.7 35646 5027\r\n", "line"),
    "v1 no ports": (b"PROXY TCP4 198.51.100.22 203.0.113.7\r\n", "line"),
    "v1 other digits": ("PROXY TCP4 198.51.100.22 203.0.113.7 ٣ 5027\r\n".encode(), "line"),
    "v1 no end": (b"PROXY UNKNOWN " + b"x" * V1_LIMIT, "too_long"),
    "v1 the end comes late": (b"PROXY UNKNOWN " + b"f" * (V1_LIMIT - 15) + b"\r\n", "too_long"),
    "v2 version 1": (v2(V4, command=0x11), "version"),
    "v2 version 3": (v2(V4, command=0x31), "version"),
    "v2 command 2": (v2(V4, command=0x22), "command"),
    "v2 UDP": (v2(V4, family=0x12), "family"),
    "v2 family 4": (v2(V4, family=0x41), "family"),
    "v2 no protocol": (v2(V4, family=0x10), "family"),
    "v2 too few bytes for IPv4": (v2(V4[:-1]), "length"),
    "v2 too few bytes for IPv6": (v2(V6[:-1], family=0x21), "length"),
    "v2 none for a Unix socket": (v2(b"", family=0x31), "length"),
    "v2 half a TLV": (v2(V4 + NOOP + b"\x04\0"), "tlv"),
    "v2 a TLV that is too long": (v2(V4 + b"\x04\0\x03ab"), "tlv"),
    "v2 a wrong checksum": (with_checksum(1), "checksum"),
    "v2 a checksum of three bytes": (v2(V4 + b"\x03\0\x03abc"), "checksum"),
    "v2 too long": (v2(b"", length=V2_LIMIT + 1), "too_long"),
}
