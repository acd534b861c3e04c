"""Deployments: the named things, one row each."""

from __future__ import annotations

import json

from longshore.model import Deployment, Routing
from longshore.store import codec, rows
from longshore.store.base import Base, expect


class Deployments(Base):
    def deployment(self, name: str) -> Deployment | None:
        row = self.db.one("SELECT * FROM deployments WHERE name = :name", name=name)
        return None if row is None else rows.deployment(row)

    def deployments(self, environment: str | None = None) -> list[Deployment]:
        """All of them (of an environment), by name."""
        sql = "SELECT * FROM deployments WHERE :environment IS NULL OR environment = :environment ORDER BY name"
        return [rows.deployment(row) for row in self.db.all(sql, environment=environment)]

    def deployment_using(self, *, working_directory: str = "", port: int | None = None) -> Deployment | None:
        row = self.db.one(
            "SELECT * FROM deployments WHERE working_directory = :directory OR public_port = :port",
            directory=working_directory,
            port=port,
        )
        return None if row is None else rows.deployment(row)

    def save_deployment(self, deployment: Deployment) -> None:
        """Insert, or replace all that may change but the revision, which moves by count_change() alone.

        Raises sqlite3.IntegrityError where a directory or port is taken.
        """
        self._write(
            deployment.name,
            "INSERT INTO deployments (name, environment, working_directory, public_port, current_version, "
            "previous_version, routing, instances, deleting, stopped, created_at, updated_at) VALUES (:name, "
            ":environment, :working_directory, :public_port, :current_version, :previous_version, :routing, "
            ":instances, :deleting, :stopped, :created_at, :updated_at) "
            "ON CONFLICT (name) DO UPDATE SET environment = :environment, working_directory = :working_directory, "
            "public_port = :public_port, current_version = :current_version, previous_version = :previous_version, "
            "routing = :routing, instances = :instances, deleting = :deleting, stopped = :stopped, "
            "updated_at = :updated_at",
            name=deployment.name,
            environment=deployment.environment,
            working_directory=deployment.working_directory,
            public_port=deployment.public_port,
            current_version=deployment.current_version,
            previous_version=deployment.previous_version,
            routing=codec.encode_routing(deployment.routing),
            instances=json.dumps(deployment.instances),
            deleting=deployment.deleting,
            stopped=deployment.stopped,
            created_at=deployment.created_at,
            updated_at=self.clock.now(),
        )

    def count_change(self, name: str, by: str) -> None:
        """A change that somebody asked for was accepted, or has ended: who looked before has seen something else."""
        self._write(
            name,
            "UPDATE deployments SET revision = revision + 1, changed_by = :by WHERE name = :name",
            name=name,
            by=by,
        )

    def set_routing(self, name: str, routing: Routing | None) -> None:
        changed = self._write(
            name,
            "UPDATE deployments SET routing = :routing, updated_at = :now WHERE name = :name",
            name=name,
            routing=codec.encode_routing(routing),
            now=self.clock.now(),
        )
        expect(changed, f"deployment {name}")

    def delete_deployment(self, name: str) -> None:
        """With everything that is stored about it."""
        with self.db.transaction():
            self.db.write("DELETE FROM locks WHERE scope = 'deployment' AND name = :name", {"name": name})
            self.db.write("DELETE FROM deployments WHERE name = :name", {"name": name})
            self.db.after_commit(lambda: self.forget_name(name))
            self.db.after_commit(codec.forget)
