"""What the allocator of the C library is told about large buffers.

For each connection with TLS uvloop has a buffer of 256 KiB, of which hardly more than a page is used. glibc
maps such a buffer by itself, and then pages that are not used take no memory, but only until the first one is
freed. From then on it takes large buffers from the heap, where handshakes have used the pages before, and an
idle connection takes 47 KiB instead of 24.
"""

from __future__ import annotations

import ctypes

LARGE = 128 * 1024
"""Bytes from which on a buffer is mapped by itself: glibc's own first value, which is kept from now on."""
AT_MOST = 32_768
"""Buffers that are mapped by themselves. Linux allows a process 65,530 mappings, and others need some."""
_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4


def map_large_buffers() -> None:
    """Map large buffers by themselves, for as long as the process lives; nothing where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE)
    mallopt(_M_MMAP_MAX, AT_MOST)
