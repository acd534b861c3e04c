"""The store as the rest of Longshore sees it: named reads and writes of records, and the rules the database enforces.

Each noun has its file; Store is all of them on one database. Writes outside of a `transaction()` are a transaction of
their own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from longshore.clock import Clock
from longshore.store.access import Access
from longshore.store.deliveries import Deliveries
from longshore.store.deployments import Deployments
from longshore.store.events import Events
from longshore.store.idempotency import Idempotency
from longshore.store.instances import Instances
from longshore.store.journal import Journal
from longshore.store.releases import Releases
from longshore.store.rollouts import Rollouts
from longshore.store.sqlite import Database, WriteHook
from longshore.store.waiting import WaitingList


class Store(Deployments, Releases, Instances, Rollouts, Journal, Events, Idempotency, WaitingList, Deliveries, Access):
    """Open one with a path; the manager then calls take_over() before it writes."""

    def __init__(self, path: Path, clock: Clock, on_write: WriteHook | None = None) -> None:
        super().__init__()
        self.db = Database(path, on_write)
        self.clock = clock
        self.manager_id = ""

    def take_over(self) -> None:
        self.manager_id, _ = self.db.take_over()

    def transaction(self) -> AbstractContextManager[None]:
        return self.db.transaction()

    def close(self) -> None:
        self.db.close()
