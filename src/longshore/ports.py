"""Ports for instances: from a range of our own, leased in the store, and asked of the kernel before they are given."""

from __future__ import annotations

import random
import socket
from collections.abc import Set

from longshore.drivers.base import DriverError


class PortRange:
    """first and last are inclusive. The default range lies below Linux's ephemeral ports (32768-60999), so that no
    outgoing connection of anybody happens to hold one of ours."""

    def __init__(self, first: int = 20000, last: int = 29999) -> None:
        self.first, self.last = first, last

    def free(self, taken: Set[int]) -> int:
        """A port nobody listens on and that is not in `taken`. Raises DriverError when the range is used up.

        The search begins at a random place: two managers that share a range then rarely meet.
        """
        size = self.last - self.first + 1
        start = random.randrange(size)
        for offset in range(size):
            port = self.first + (start + offset) % size
            if port not in taken and self.is_free(port):
                return port
        raise DriverError(
            f"No free port between {self.first} and {self.last}: widen instance_ports in the configuration, "
            "or delete deployments that are no longer needed."
        )

    def is_free(self, port: int) -> bool:
        """Whether a server could listen on it now, on any address."""
        return is_free(port)


def is_free(port: int, host: str = "0.0.0.0") -> bool:
    """Whether a server could listen on it now. SO_REUSEADDR: connections in TIME_WAIT are no hindrance, as for apps."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
