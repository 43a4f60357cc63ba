"""How often Python looks for garbage: seldom, because a look through all that lives stalls every connection.

Rare collections are safe because the code creates few reference cycles.
"""

from __future__ import annotations

import gc

WHILE_STARTING = 100_000
"""Objects that were made and not freed, after which Python looks for garbage: more than all imports make. It
stays so for verbs that run no gateway."""
YOUNG_OBJECTS = 10_000
"""The same in a gateway that serves: 14 times the default."""


def start_without_collections() -> None:
    """Do not look for garbage while modules are imported: it takes a tenth of the time, and finds little."""
    gc.set_threshold(WHILE_STARTING)


def make_collections_rare() -> None:
    """Make garbage collections rare from now on, and small: what lives now is in none of them.

    A thousand commands or frames in progress are more objects than the default allows, and all of them are
    freed when they are finished. Looking through them finds nothing and takes a twelfth of the time of a
    command. This looks through all that lives for the last time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
