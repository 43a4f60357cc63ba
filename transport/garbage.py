"""How often Python looks for garbage: seldom, because a look through all that lives stalls every connection.

Rare collections are safe because the code creates few reference cycles.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 10_000
"""Objects that were made and not freed, after which a gateway looks for garbage: 14 times the default."""
WHILE_STARTING = 100_000
"""The same until then: more than all imports make, which are kept anyway."""


def start_without_collections() -> None:
    """Do not look for garbage while modules are imported: it takes a tenth of that time and finds little."""
    gc.set_threshold(WHILE_STARTING)


def make_collections_rare() -> None:
    """Make garbage collections rare: a thousand commands or frames in progress are more objects than the
    default allows, and all of them are freed when they are finished. Looking through them finds nothing and
    takes a twelfth of the time of a command.
    """
    gc.set_threshold(YOUNG_OBJECTS)


def keep_what_lives() -> None:
    """Take the objects that live now, as long as the process, out of all collections. It takes some time."""
    gc.collect()
    gc.freeze()
