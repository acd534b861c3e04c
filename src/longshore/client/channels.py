"""What the sync and the async carrier share about HTTP, server-sent events and WebSockets: names and errors."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from longshore import __version__
from longshore.client.discovery import Endpoint
from longshore.client.effects import ChannelClosed, Reply
from longshore.client.errors import ClientError, ConnectionLost, ManagerUnreachable, UnexpectedAnswer, error_of_body

#: seconds to connect; a manager is near, and a refused connection shows at once anyhow
CONNECT_TIMEOUT = 5.0
#: seconds without a byte after which a stream is lost: the manager says every 15 that it is alive
STREAM_SILENCE = 60.0
#: bytes of a WebSocket message; the longest carries the tail of a log
MESSAGE_MOST = 4 * 1024 * 1024


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """In UTF-8: what people write in them need not be ASCII, and httpx2 would refuse it."""
    return [(key.encode(), value.encode()) for key, value in headers.items()]


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    headers = {"User-Agent": f"longshore/{__version__}", "Accept": "application/json"}
    if endpoint.token:
        headers["Authorization"] = f"Bearer {endpoint.token}"
    return headers


def client_options(endpoint: Endpoint) -> dict[str, Any]:
    """Arguments of httpx2.Client and AsyncClient alike."""
    options: dict[str, Any] = {
        "base_url": endpoint.url,
        "headers": headers_of(endpoint),
        # A proxy that the environment names for the world is none for this machine.
        "trust_env": not endpoint.is_local,
    }
    if endpoint.url.startswith("http://"):
        # Reading the authorities' certificates takes longer than a call; here none will be looked at.
        options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return options


def socket_options(endpoint: Endpoint) -> dict[str, Any]:
    """Arguments of both `websockets` clients. Pings find a connection that died silently within 40 s."""
    options: dict[str, Any] = {
        "additional_headers": {k: v for k, v in headers_of(endpoint).items() if k == "Authorization"},
        "user_agent_header": f"longshore/{__version__}",
        "open_timeout": CONNECT_TIMEOUT,
        "close_timeout": 1.0,
        "max_size": MESSAGE_MOST,
    }
    if endpoint.is_local:
        options["proxy"] = None
    return options


def socket_url(endpoint: Endpoint, path: str, params: Mapping[str, Any]) -> str:
    query = f"?{urlencode(params)}" if params else ""
    return f"ws{endpoint.url.removeprefix('http')}{path}{query}"


def timeout_of(seconds: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=CONNECT_TIMEOUT)


def reply_of(response: httpx2.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)


def unreachable(endpoint: Endpoint, cause: str) -> ManagerUnreachable:
    if endpoint.is_stale:
        cause = f"{cause}; its process {endpoint.pid}, named in {endpoint.source}, has ended"
    return ManagerUnreachable(endpoint.url, cause)


def http_error(endpoint: Endpoint, error: Exception) -> ClientError:
    """Not connected, or connected and lost. error: an httpx2.TransportError, or what breaks below it as it connects."""
    if not isinstance(error, httpx2.TransportError):
        return unreachable(endpoint, "the connection broke as it was made")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        cause = "no connection in time" if isinstance(error, httpx2.TimeoutException) else str(error)
        return unreachable(endpoint, cause)
    if isinstance(error, httpx2.TimeoutException):
        return ConnectionLost(endpoint.url, "no answer in time")
    return ConnectionLost(endpoint.url, str(error))


def stream_refusal(endpoint: Endpoint, response: httpx2.Response) -> ClientError | None:
    """Why a stream of server-sent events is none. The body has been read."""
    if response.status_code != 200:
        return error_of_body(response.content, url=str(response.url), status=response.status_code)
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        return UnexpectedAnswer(f"{response.url} answered with something that is no stream of events")
    return None


def socket_refusal(endpoint: Endpoint, error: Exception) -> ClientError:
    """Why a WebSocket did not open."""
    if isinstance(error, InvalidStatus):
        answer = error.response
        return error_of_body(bytes(answer.body or b""), url=endpoint.url, status=answer.status_code)
    if isinstance(error, InvalidHandshake):
        return UnexpectedAnswer(f"{endpoint.url} speaks no WebSocket: {error}")
    return unreachable(endpoint, str(error) or type(error).__name__)


def socket_end(endpoint: Endpoint, error: ConnectionClosed) -> Exception:
    """An orderly end, with its code, or a lost connection. 1001 and 1012 are a manager that leaves."""
    code = error.rcvd.code if error.rcvd is not None else 1006
    if code == 1000 or 4000 <= code <= 4999:
        return ChannelClosed(code)
    return ConnectionLost(endpoint.url, str(error))
