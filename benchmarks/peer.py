"""The peer of status_reads.py: a bare FastAPI endpoint that answers ready bytes. `python peer.py PORT FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response


def build(body: bytes) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/api/v1/deployments/{name}")
    async def status(name: str) -> Response:
        return Response(body, media_type="application/json")

    return app


if __name__ == "__main__":
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    uvicorn.run(
        build(file.read_bytes()), port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
