"""Redis: every key, script and client of the gateway. Nothing outside this package imports `redis`."""
