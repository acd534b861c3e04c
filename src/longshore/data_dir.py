"""The data directory: one manager at a time, and closed to others."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from longshore.disk import make_private_directory, sync_path, write_durably
from longshore.settings import SettingsError


class AlreadyRunning(SettingsError):
    """Another manager holds the data directory."""


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One manager for each data directory. The kernel frees the lock however the holder ends."""
    make_private_directory(data_dir)
    _close_to_others(data_dir)
    descriptor = os.open(data_dir / "manager.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise AlreadyRunning(
                f"{data_dir} is in use by {holder}: stop that manager first, or choose another --data-dir."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def admin_token(data_dir: Path) -> str:
    """The admin token: made once, readable by the owner alone."""
    path = data_dir / "admin.token"
    if path.exists() and (token := path.read_text().strip()):
        path.chmod(0o600)
        return token
    token = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_path(data_dir.resolve())
    return token


@contextmanager
def announced(data_dir: Path, url: str, version: str) -> Iterator[None]:
    """server.json says where the API is, for the command line; it is there only while somebody listens."""
    path = data_dir / "server.json"
    said = json.dumps({"url": url, "pid": os.getpid(), "version": version}) + "\n"
    write_durably(path, said)
    try:
        yield
    finally:
        # Where another manager has taken over, it is that one's by now.
        with suppress(FileNotFoundError):
            if path.read_text() == said:
                path.unlink()


def _close_to_others(data_dir: Path) -> None:
    """Whoever can replace server.json or the database is the manager, and what applications print may hold secrets.

    A directory that was made before may still be entered by others: applications run as other users live below it.
    """
    if (mode := stat.S_IMODE(data_dir.stat().st_mode)) & 0o022:
        data_dir.chmod(mode & ~0o022)
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    logs.chmod(0o700)
