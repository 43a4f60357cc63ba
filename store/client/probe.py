"""Asking a server who it is, before there is an event loop."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 1.0


def server_pid(url: str) -> int | None:
    """The process id of the server that answers at `url`; None when none does within `TIMEOUT` seconds."""
    client = Redis.from_url(url, protocol=2, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()  # refused while the server loads its data, which INFO is not
        pid = client.info("server").get("process_id")
    except Exception:  # whatever answers like that is no server that serves us
        return None
    finally:
        client.close()
    return pid if isinstance(pid, int) else None
