"""On PYTHONPATH this hides the real uvloop from a process, which then runs on the loop of asyncio."""

raise ImportError("uvloop is hidden")
