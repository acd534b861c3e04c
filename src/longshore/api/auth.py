"""Who is asking: the bearer token, and without tokens the guard against other people's web pages."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from longshore.access.tokens import PREFIX
from longshore.api.settings import ApiSettings
from longshore.errors import Forbidden, Unauthorized
from longshore.model import Role

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="longshore"'}


@dataclass(frozen=True, slots=True)
class Caller:
    #: shown as `requested_by`
    name: str
    #: what rate limits count by: the token, else the address
    key: str
    role: Role = Role.admin
    #: environments it may change; None: all
    environments: tuple[str, ...] | None = None


def authenticate(headers: Mapping[str, str], address: str, settings: ApiSettings) -> Caller:
    """The caller of a request.

    headers  lower-case names
    address  of the client
    Raises   Unauthorized where the token is missing or wrong; Forbidden, only where no token is asked for, for requests
             that a web page of somebody else may have caused a browser on this machine to send.
    """
    if settings.token is None:
        _refuse_foreign_pages(headers)
        return Caller(f"anonymous@{address}", address)
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized(headers=_CHALLENGE)
    return check_token(given.strip(), settings)


def check_token(given: str, settings: ApiSettings) -> Caller:
    """Whose token this is: the one in admin.token, compared in constant time, or one that was made. Raises
    Unauthorized."""
    assert settings.token is not None
    if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), settings.token.encode()):
        return Caller("admin", "token:admin")
    if given.startswith(PREFIX) and (token := settings.find_token(given)) is not None:
        return Caller(token.name, f"token:{token.name}", token.role, token.environments)
    raise Unauthorized(
        "This token is not valid; the one in admin.token of the data directory is, and those that `longshore token "
        "create` makes are until they expire or are revoked.",
        headers=_CHALLENGE,
    )


def require(caller: Caller, least: Role) -> None:
    """Raise Forbidden for a caller of a lesser role."""
    if not caller.role.may(least):
        raise Forbidden(f"{caller.name} has the role {caller.role}; this takes {least}.", cause=f"role {caller.role}")


def _refuse_foreign_pages(headers: Mapping[str, str]) -> None:
    """Without a token, being on this machine is all the authority there is, and browsers lend it to every page.

    So the Host must be this machine (a page whose name was rebound to 127.0.0.1 says its own), and an Origin, which
    browsers add to what a page sends, must be this very server.
    """
    host = headers.get("host", "")
    if not _is_loopback(urlsplit(f"//{host}").hostname if host else ""):
        raise Forbidden(f"Without authentication only requests to localhost are answered, not to {host!r}.")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden(f"Without authentication requests from web pages of {origin!r} are refused.")


def _is_loopback(host: str | None) -> bool:
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
