"""What the allow-list says of a device: that it may connect, and what it has to show besides its IMEI.

A line of the list is ``IMEI [CIDR...] [cert=SHA256...]``. The device may connect from any of the networks, or
from anywhere if none is named; and with any of the certificates, or without one if none is named. A list may
have hundreds of thousands of lines, so each is kept as text and read when its device connects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network

from fsm.errors import GatewayFault
from fsm.networks import Network, is_within
from fsm.outbound import IMEI
from fsm.takeover import CERTIFICATE

_PINNED = "cert="
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMON = re.compile(r"cert=[0-9a-f]{64}")
"""How a certificate is mostly written: a long list of such words is read much faster."""
_LONGEST = 40
"""Characters of a wrong word that an error repeats."""


class BadLine(GatewayFault):
    """A line of an allow-list, or what it says of its device, cannot be read."""


class Absence(StrEnum):
    """Why there are no terms for a device. The text is the reason of its refusal."""

    NOT_LISTED = "not_listed"
    WRONG = "wrong_line"
    UNKNOWN = "list_unavailable"


@dataclass(slots=True, frozen=True)
class Terms:
    """What a device has to show.

    Attributes:
        networks: it connects from one of them; empty for anywhere.
        certificates: it has one of them, each as ``cert:`` and its SHA-256; empty for none.
    """

    networks: tuple[Network, ...] = ()
    certificates: tuple[str, ...] = ()

    def refusal(self, host: str, auth: str) -> str:
        """Why a connection from `host`, authenticated as `auth` says, does not fit; empty if it fits."""
        if self.networks and not is_within(host, self.networks):
            return "address"
        return "certificate" if self.certificates and auth not in self.certificates else ""


Listed = Terms | Absence
"""What a list says of one device."""


def read_line(line: str) -> tuple[str, str] | None:
    """The IMEI of a line and the text of its terms; None for an empty line or a comment.

    Raises:
        BadLine: it is neither.
    """
    text = line.partition("#")[0].strip()
    if IMEI.fullmatch(text):
        return text, ""
    imei, *words = text.split() or [""]
    if not imei:
        return None
    if not IMEI.fullmatch(imei):
        raise BadLine(f"{_shown(imei)} is not an IMEI of 15 digits")
    for word in words:
        if not _COMMON.fullmatch(word):
            _read_word(word)
    return imei, " ".join(words)


@lru_cache(maxsize=4096)
def read_terms(text: str) -> Terms:
    """The terms that `text` says: networks and certificates, separated by blanks.

    Raises:
        BadLine: a word is neither a network nor a certificate.
    """
    read = [_read_word(word) for word in text.split()]
    return Terms(
        tuple(word for word in read if not isinstance(word, str)),
        tuple(word for word in read if isinstance(word, str)),
    )


def terms_of(text: str) -> Listed:
    """The terms that `text` says, or that it cannot be read."""
    try:
        return read_terms(text)
    except BadLine:
        return Absence.WRONG


def _read_word(word: str) -> Network | str:
    return _certificate(word) if word.lower().startswith(_PINNED) else _network(word)


@lru_cache(maxsize=4096)
def _network(word: str) -> Network:
    try:
        return ip_network(word)
    except ValueError:
        raise BadLine(f"{_shown(word)} is neither a network such as 10.0.0.0/8 nor cert=SHA256") from None


def _certificate(word: str) -> str:
    digest = word[len(_PINNED) :].replace(":", "").lower()
    if not _SHA256.fullmatch(digest):
        raise BadLine(f"{_shown(word)} is not cert= and the 64 hexadecimal digits of a SHA-256")
    return CERTIFICATE + digest


def _shown(word: str) -> str:
    return ascii(word if len(word) <= _LONGEST else word[:_LONGEST] + "...")
