"""Releases: unpacked versions, kept or pruned."""

from __future__ import annotations

from longshore.model import Release, ReleaseState
from longshore.store import codec, rows
from longshore.store.base import Base


class Releases(Base):
    def release(self, deployment: str, version: str) -> Release | None:
        row = self.db.one(
            "SELECT * FROM releases WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
        )
        return None if row is None else rows.release(row)

    def releases(self, deployment: str) -> list[Release]:
        """Newest first."""
        sql = "SELECT * FROM releases WHERE deployment = :deployment ORDER BY created_at DESC, rowid DESC"
        return [rows.release(row) for row in self.db.all(sql, deployment=deployment)]

    def save_release(self, release: Release) -> None:
        self._write(
            release.deployment,
            "INSERT INTO releases (deployment, version, sha256, spec, command, path, size_bytes, state, created_at, "
            "healthy_at) VALUES (:deployment, :version, :sha256, :spec, :command, :path, :size_bytes, :state, "
            ":created_at, :healthy_at) ON CONFLICT (deployment, version) DO UPDATE SET sha256 = :sha256, spec = :spec, "
            "command = :command, path = :path, size_bytes = :size_bytes, state = :state, healthy_at = :healthy_at",
            deployment=release.deployment,
            version=release.version,
            sha256=release.sha256,
            spec=codec.encode_spec(release.spec),
            command=codec.encode_command(release.command),
            path=release.path,
            size_bytes=release.size_bytes,
            state=release.state.value,
            created_at=release.created_at,
            healthy_at=release.healthy_at,
        )

    def set_release_state(self, deployment: str, version: str, state: ReleaseState) -> None:
        self._write(
            deployment,
            "UPDATE releases SET state = :state WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
            state=state.value,
        )

    def set_pinned(self, deployment: str, version: str, reason: str | None) -> None:
        """reason: why it is never to be pruned; None: it may be."""
        self._write(
            deployment,
            "UPDATE releases SET pinned = :reason WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
            reason=reason,
        )

    def delete_release(self, deployment: str, version: str) -> None:
        self._write(
            deployment,
            "DELETE FROM releases WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
        )
