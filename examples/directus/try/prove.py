"""Proves on a real Directus what docs/directus.md says. `try.sh` prepares it and starts it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import commands  # noqa: F401  (adds its proofs)
import faults
from rows import PROOFS
from stack import DISPATCHER, SECOND, Stack


def dispatchers(stack: Stack) -> None:
    """Two persons with the role that the set-up script makes."""
    [role] = [role for role in stack.api("GET", "/roles") if role["name"] == "Dispatchers"]
    for person, name in ((DISPATCHER, "Dina"), (SECOND, "Sam")):
        names = {"role": role["id"], "first_name": name, "last_name": "Dispatcher"}
        stack.api("POST", "/users", person | names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directus", type=Path, required=True, help="where Directus is installed")
    parser.add_argument("--node", required=True)
    parser.add_argument("--only", default="", help="run the proofs whose title has this")
    parser.add_argument("--keep", action="store_true", help="leave it running until Enter")
    chosen = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="telgw-directus-") as directory:
        stack = Stack(Path(directory), chosen.directus, chosen.node)
        try:
            stack.start()
            dispatchers(stack)
            faults.insert_past_directus(stack)
            proofs = [(title, run) for title, run in PROOFS if chosen.only in title]
            for title, run in proofs:
                failed += not proven(stack, title, run)
            print(f"{len(proofs) - failed} passed, {failed} failed")
            if failed:
                print("--- the log of Directus", *telling(stack), sep="\n")
            if chosen.keep:
                input(f"{stack.url}  {DISPATCHER}  Enter ends it. ")
        except AssertionError as error:
            print(f"FAILED  {error}", "--- the log of Directus", *telling(stack), sep="\n")
            return 1
        finally:
            stack.stop()
    return 1 if failed else 0


def proven(stack: Stack, title: str, run: Callable[[Stack], None]) -> bool:
    begun = time.monotonic()
    try:
        run(stack)
    except Exception:
        print(f"FAILED  {title}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok      {title} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def telling(stack: Stack) -> list[str]:
    """The lines of the log that are no requests."""
    return [line[:400] for line in stack.logged().splitlines() if "request completed" not in line][-60:]


if __name__ == "__main__":
    sys.exit(main())
