"""Calls to Redis: clients, connections, scripts, queues, and the errors in which a call can end.

Owns how a server is found (one address, sentinels, a cluster), how a connection is made, checked and given
up, how items wait and are sent in batches (`batch_queue`), how a copy of a key is kept (`kept_copy`), and the
meaning of every error. It knows two things of the rest of `store`: the scripts in ``store/scripts`` and, to
find the node of a cluster, the name of one key (`store.keys`).

Invariant: a call is written at most once. Every failure is a `StoreError`: a `StoreRefused` was answered by
the server, and a `CallFailed` says whether the call may have been carried out. Nobody above this package
needs to know a class of redis-py other than the client itself.
"""
