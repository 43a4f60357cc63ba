"""structlog without `rich`, for the processes that serve.

Where `rich` is installed, structlog imports it for tracebacks that it draws on a console. This log has its
own lines (`transport.console_lines`), and only the verbs that draw need `rich`. In a gateway it would take a
tenth of the start and some megabytes of each process. A module that is None in `sys.modules` cannot be
imported, and structlog has its own tracebacks then. Import this before anything else that imports structlog.
"""

from __future__ import annotations

import sys

if "rich" in sys.modules:
    import structlog
else:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        del sys.modules["rich"]

__all__ = ["structlog"]
