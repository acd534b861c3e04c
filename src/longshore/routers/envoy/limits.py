"""How many client connections there may be: of all ports together, so that Envoy never runs out of files, and of one
port, so that a flood on one deployment leaves the others theirs."""

from __future__ import annotations

import resource

#: Measured at 20,000 open files.
MAX_CONNECTIONS = 10_000


def most_connections() -> int:
    """Bound on all client connections: never more than half of the open files, for each needs one to the instance."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, hard // 2)


def most_connections_of_one_port() -> int:
    """Three quarters of all."""
    return most_connections() * 3 // 4
