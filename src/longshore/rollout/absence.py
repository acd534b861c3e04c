"""Hosts that a rollout goes on without, because they cannot be reached.

Before the commit as many as its spec lets fail (`max_failed_hosts`); one more fails it. In what is undone, and in what
follows the commit, any number: there is nothing better to be done about them, and the monitor brings them to what is
committed once they are back.
"""

from __future__ import annotations

from longshore.errors import RolloutFailed
from longshore.hosts.base import HostUnreachable


class Absence:
    """most: how many hosts may be absent; None: any number."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        #: name → why
        self.hosts: dict[str, str] = {}

    def excused(self) -> Absence:
        """The same hosts, from here on among any number."""
        other = Absence()
        other.hosts = dict(self.hosts)
        return other

    def pass_over(self, error: HostUnreachable) -> str:
        """Go on without that host. Returns the warning. Raises RolloutFailed where it is one too many."""
        self.hosts.setdefault(error.host, str(error))
        if self._most is not None and len(self.hosts) > self._most:
            who = f"{len(self.hosts)} hosts ({', '.join(self.hosts)}) are" if self._most else f"Host {error.host} is"
            allowed = f", and at most {self._most} may be (max_failed_hosts)" if self._most else ""
            raise RolloutFailed(f"{who} out of reach{allowed}: {error}", cause=str(error))
        return f"warning: going on without {error.host}: {error}"
