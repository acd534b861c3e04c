"""Where the admin socket is: in the router's directory, or where that is too deep, in a short one of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from longshore.routers.base import RouterError

#: sun_path holds 108 bytes on Linux and 104 elsewhere, a closing zero included (unix(7)).
LONGEST = 103


def socket_path(directory: Path) -> Path:
    """The socket's path. A short one is remembered in `directory`/socket, so that the next manager finds it."""
    plain = directory / "admin.sock"
    if len(os.fsencode(plain)) <= LONGEST:
        return plain
    memory = directory / "socket"
    if memory.exists() and (known := Path(memory.read_text().strip())).parent.is_dir():
        return known
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    if len(os.fsencode(runtime)) > 60:
        runtime = Path("/tmp")
    short = runtime / f"longshore-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    # /tmp is everybody's: a directory somebody else prepared would hand them the admin interface.
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or short.is_symlink():
        raise RouterError(f"{short} is not this user's alone; remove it, it is made anew")
    memory.write_text(f"{short / 'admin.sock'}\n")
    return short / "admin.sock"


def forget_socket(directory: Path, path: Path) -> None:
    """Remove the short directory that socket_path() made, once no Envoy listens there. Harmless where there is none."""
    if path.parent == directory:
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        (directory / "socket").unlink(missing_ok=True)
