"""Devices that send serial-port data: the codec of their commands, and whether an answer is certain.

A frame of codec 12 names neither the device nor the command, so serial-port data on codec 12 looks like an
answer. An answer on codec 14 names the device, and serial-port data does not. So a device that is known to
send serial-port data ("speaks") gets its commands as codec 14, unless the producer sets codec 12.

The codec is chosen when the command is sent, and kept in its events, for the next holder of the command and
for replay. Before that, events have the codec that the command would be sent with.
"""

from __future__ import annotations

from typing import Final

CODEC_12: Final = "12"
CODEC_14: Final = "14"

CERTAIN: Final = "certain"
UNCERTAIN: Final = "uncertain"
ATTRIBUTIONS: Final = (CERTAIN, UNCERTAIN)
"""Whether an answer certainly belongs to its command, or may be serial-port data."""


def codec_for(asked: str, speaks: bool) -> str:
    """The codec of a command.

    Args:
        asked: the codec that the producer set; empty for none.
        speaks: whether the device is known to send serial-port data.
    """
    return asked or (CODEC_14 if speaks else CODEC_12)


def attribution(codec: str, speaks: bool) -> str:
    """Whether a frame that looks like the answer to a command of `codec` certainly is one."""
    return UNCERTAIN if speaks and codec == CODEC_12 else CERTAIN
