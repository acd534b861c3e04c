"""The endpoints about the manager itself: whether it lives, whether it is ready, and its documents."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import api_of
from longshore.api.problems import JSON, NotReady, json_response


async def healthz(request: Request) -> Response:
    """Whether the process answers."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether the manager has recovered and takes requests; 503 until then and while it stops."""
    api = api_of(request)
    if api.stopping.is_set():
        raise NotReady("The manager is stopping.")
    if not api.ready():
        raise NotReady
    return json_response({"status": "ready", "version": api.version})


async def openapi_json(request: Request) -> Response:
    """The OpenAPI 3.1 description of this API."""
    return Response(request.app.state.documents.openapi, media_type=JSON)


async def asyncapi_json(request: Request) -> Response:
    """The AsyncAPI 3.0 description of the WebSocket."""
    return Response(request.app.state.documents.asyncapi, media_type=JSON)


async def docs(request: Request) -> Response:
    """The OpenAPI description for people. The page itself holds nothing; it asks for the token where one is needed."""
    page, policy = _page()
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})


@cache
def _page() -> tuple[bytes, str]:
    """The page and a policy that lets it run its own script and talk to this server, and nothing else."""
    text = resources.files("longshore.api").joinpath("docs.html").read_text("utf-8")
    hashes = {tag: _digest(text, tag) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), policy


def _digest(page: str, tag: str) -> str:
    match = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    content = match[1] if match else ""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
