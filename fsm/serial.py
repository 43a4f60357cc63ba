"""Devices whose serial port speaks: which codec their commands take, and how far their answers are believed.

Codec 12 names neither the device nor the command, and what a serial port says looks like an answer there.
An answer on codec 14 names the device, and serial data cannot be taken for one. So a command goes out as
codec 14 to a device that is known to speak by itself, unless its producer insists on codec 12.

The codec is chosen when the command is sent and kept in its events: whoever holds the command next, or folds
its history, finds it there. Until then the events of a command tell the codec that it would have.
"""

from __future__ import annotations

from typing import Final

CODEC_12: Final = "12"
CODEC_14: Final = "14"

CERTAIN: Final = "certain"
UNCERTAIN: Final = "uncertain"
ATTRIBUTIONS: Final = (CERTAIN, UNCERTAIN)
"""Whether an answer is sure to be its command's, or may be something that the serial port said."""


def codec_for(asked: str, speaks: bool) -> str:
    """The codec of a command.

    Args:
        asked: the producer's wish; empty for none.
        speaks: the device is known to speak by itself.
    """
    return asked or (CODEC_14 if speaks else CODEC_12)


def attribution(codec: str, speaks: bool) -> str:
    """How sure it is that what looks like the answer to a command of `codec` is one."""
    return UNCERTAIN if speaks and codec == CODEC_12 else CERTAIN
