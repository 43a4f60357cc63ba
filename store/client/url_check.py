"""Checks the URL of Redis as far as possible without a connection."""

from __future__ import annotations

from typing import Any

from store.client.client import connect
from store.client.connection import TlsConnection
from store.client.tls_files import try_files


def check_url(url: str, key_prefix: str = "") -> None:
    """Make a client of `url`, and read the files that it names.

    Raises:
        BadRedisUrl: it names no server, has an option or a file that is no use, or names a cluster that
            cannot hold keys of this prefix together.
    """
    pool: Any = connect(url, purpose="check", key_prefix=key_prefix).connection_pool
    connection = pool.make_connection()
    if isinstance(connection, TlsConnection):
        try_files(connection.ssl_context)
