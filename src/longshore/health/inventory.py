"""What there is, as the store says, for a loop that looks several times a second."""

from __future__ import annotations

from longshore.model import Deployment, Instance, Spec
from longshore.store import Store


class Inventory:
    """All deployments and instances. Kept until something changes: decoding 500 deployments takes some 50 ms."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.deployments: list[Deployment] = []
        self._instances: dict[str, list[Instance]] = {}
        #: what the above is as of, of the store's `changes`
        self._seen = -1
        #: deployment → stamp of the store, spec of what is committed
        self._specs: dict[str, tuple[int, Spec | None]] = {}

    def refresh(self) -> bool:
        """Read it anew if anything has changed; whether it has. If the store raises, what was known stands."""
        if self._seen == self._store.changes:
            return False
        seen, instances = self._store.changes, dict[str, list[Instance]]()
        for instance in self._store.instances():
            instances.setdefault(instance.deployment, []).append(instance)
        self.deployments = self._store.deployments()
        self._instances = instances
        names = {deployment.name for deployment in self.deployments}
        self._specs = {name: known for name, known in self._specs.items() if name in names}
        self._seen = seen  # last: what could not be read is read the next time
        return True

    def ids(self) -> set[str]:
        """Those of all instances."""
        return {instance.id for instances in self._instances.values() for instance in instances}

    def instances(self, name: str) -> list[Instance]:
        return self._instances.get(name, [])

    def spec(self, instance: Instance) -> Spec | None:
        """What this instance runs by; decoded at each call, which costs some 20 µs. None: its release is gone."""
        release = self._store.release(instance.deployment, instance.version)
        return release.spec if release is not None else None

    def committed(self, deployment: Deployment) -> Spec | None:
        """The spec of what is committed; None: nothing is."""
        stamp = self._store.stamp(deployment.name)
        known = self._specs.get(deployment.name)
        if known is None or known[0] != stamp:
            release = (
                self._store.release(deployment.name, deployment.current_version) if deployment.current_version else None
            )
            known = (stamp, release.spec if release is not None else None)
            self._specs[deployment.name] = known
        return known[1]
