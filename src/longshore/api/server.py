"""The application under uvicorn, with the bounds that keep it alive under bad clients and let it exit when told to."""

from __future__ import annotations

import socket
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from longshore.api.wire import dumps, error_json
from longshore.errors import SpecInvalid

#: seconds that connections may take to end once stopping is announced; with it the manager exits within 5 s of SIGTERM
GRACE = 3

#: messages from clients are of no interest (see progress.py); this bounds what one can make the server hold
_WS_MAX_SIZE = 64 * 1024


class Protocol(HttpToolsProtocol):
    """HTTP/1.1, where even what is no HTTP is answered with the envelope."""

    def send_400_response(self, msg: str) -> None:
        body = dumps(error_json(SpecInvalid(msg, operation="read the request"), time.time()))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Tells the application that it stops before waiting for its requests, so that those which wait end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until stop() is called. Signals are the caller's: uvicorn would raise them again."""
        await self._serve(sockets)

    def stop(self) -> None:
        """Take no more requests, end those that wait, and return from serve()."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stopping.set()
        await super().shutdown(sockets)


def build(app: FastAPI, **overrides: Any) -> Server:
    """A server for `await serve(sockets=[…])`. overrides: of uvicorn.Config, such as host and port.

    The log configuration is left alone: whoever builds the process decides it.
    """
    settings: dict[str, Any] = {
        "loop": "uvloop",
        "http": Protocol,
        "ws": "websockets-sansio",
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_max_size": _WS_MAX_SIZE,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": GRACE,
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
        "log_config": None,
        "lifespan": "on",
    }
    return Server(uvicorn.Config(app, **{**settings, **overrides}), app)
