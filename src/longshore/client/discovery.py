"""Where the manager is and what it is told to be let in: flags, then environment, then the data directory.

URL     --url, LONGSHORE_URL, else `url` of DATA_DIR/server.json
token   --token, LONGSHORE_TOKEN, else DATA_DIR/admin.token
DATA_DIR   --data-dir, LONGSHORE_DATA_DIR, else /var/lib/longshore for root, ~/.local/share/longshore otherwise
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from longshore.client.errors import ClientError, ManagerUnreachable


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A manager and how to speak to it. url: without a trailing slash; token: None sends none."""

    url: str
    token: str | None
    #: where the URL comes from, for messages: "--url", "LONGSHORE_URL" or the path of server.json
    source: str
    #: the manager's process, where server.json says
    pid: int | None = None

    @property
    def is_stale(self) -> bool:
        """Whether server.json names a process that is gone: the manager stopped, or was killed."""
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    @property
    def is_local(self) -> bool:
        """Whether the manager runs on this machine, so that paths here are paths there."""
        return is_loopback(self.url)


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The data directory of this user, absolute."""
    if named := environ.get("LONGSHORE_DATA_DIR"):
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/longshore")
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "longshore"


def discover(
    url: str | None = None,
    token: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Endpoint:
    """The manager to speak to. Raises ManagerUnreachable where none is known, ClientError for a URL that is none."""
    directory = Path(data_dir).expanduser().absolute() if data_dir else default_data_dir(environ)
    pid: int | None = None
    if url:
        found, source = url, "--url"
    elif environ.get("LONGSHORE_URL"):
        found, source = environ["LONGSHORE_URL"], "LONGSHORE_URL"
    else:
        source = str(directory / "server.json")
        found, pid = _stated_in(directory / "server.json")
    found = _checked(found, source)
    token = token or environ.get("LONGSHORE_TOKEN") or None
    # The token of this machine's manager is never sent to another machine.
    if token is None and (is_loopback(found) or source not in ("--url", "LONGSHORE_URL")):
        token = read_token(directory)
    return Endpoint(found, token, source, pid)


def read_token(data_dir: Path) -> str | None:
    """What admin.token of the data directory holds, or None where there is none or it may not be read."""
    try:
        return (data_dir / "admin.token").read_text("utf-8").strip() or None
    except OSError:
        return None


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by its loopback address. Names are compared, never looked up."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _stated_in(path: Path) -> tuple[str, int | None]:
    try:
        stated = json.loads(path.read_text("utf-8"))
        url, pid = str(stated["url"]), stated.get("pid")
    except FileNotFoundError:
        raise ManagerUnreachable("", f"there is no {path}") from None
    except PermissionError:
        raise ManagerUnreachable(
            "",
            f"{path} may not be read by this user",
            hint="run as the user the manager runs as, or give --url and --token (LONGSHORE_URL, LONGSHORE_TOKEN)",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManagerUnreachable("", f"{path} cannot be understood: {error}") from error
    return url, pid if isinstance(pid, int) and pid > 0 else None


def _checked(url: str, source: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClientError(f"{url!r} ({source}) is no URL of a manager: write it like http://127.0.0.1:8300")
    if parts.username or parts.query or parts.fragment:
        raise ClientError(f"{url!r} ({source}) has more than scheme, host, port and path; give the token by --token")
    return url.rstrip("/")
