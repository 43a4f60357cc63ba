"""The inputs that every round begins with: files of this repository, and the examples of the protocol.

A file of ``corpus/<target>/`` is one input: ``.hex`` holds it as hex, with blanks and ``#`` comments; any
other file is the input itself.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "corpus"
VECTORS = Path(__file__).parents[1] / "data" / "vectors.json"


def read(path: Path) -> bytes:
    """The input in a file."""
    if path.suffix != ".hex":
        return path.read_bytes()
    lines = path.read_text(encoding="ascii").splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))


def files(target: str) -> dict[str, bytes]:
    """The inputs of a target that lie in the repository, by name."""
    return {path.name: read(path) for path in sorted((HERE / target).iterdir())}


@cache
def vectors() -> tuple[dict[str, Any], ...]:
    """The public examples of the protocol."""
    return tuple(json.loads(VECTORS.read_text(encoding="utf-8")))


def streams() -> list[bytes]:
    """What devices are known to send."""
    return [bytes.fromhex(vector["hex"]) for vector in vectors() if vector["kind"] != "udp"]


def bodies(*codecs: int) -> list[bytes]:
    """The frames among them that have one of `codecs`, without preamble, length and checksum."""
    return [data[8:-4] for data in streams() if len(data) > 14 and not any(data[:4]) and data[8] in codecs]
