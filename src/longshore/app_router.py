"""The routers of a manager, as its settings want them: a part of the composition root."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from longshore.fence import Fence
from longshore.fleet import base_environment
from longshore.routers import ROUTERS, RouterOptions
from longshore.routers.by_environment import RouterByEnvironment
from longshore.routers.endpoints.files import Published
from longshore.settings import Endpoints, Environment, Settings
from longshore.store import Store

log = logging.getLogger("longshore")


def build_router(settings: Settings, store: Store, fence: Fence) -> RouterByEnvironment:
    """One Envoy for all environments that use it; for the others one each, as each has a balancer of its own.

    Raises RouterError where a directory of theirs cannot be used.
    """

    def on_event(environments: Callable[[str], bool], type: str, message: str) -> None:
        level = {"warning": logging.WARNING, "error": logging.ERROR}.get(type, logging.INFO)
        log.log(level, "router: %s", message)
        for deployment in store.deployments():
            if deployment.routing is not None and environments(deployment.environment):
                store.add_event(deployment.name, type, message, source="router")

    def environment_of(name: str) -> str | None:
        deployment = store.deployment(name)
        return deployment.environment if deployment is not None else None

    own = {name: each for name, each in settings.environments.items() if each.router == "none"}
    envoy = RouterOptions(
        directory=settings.data_dir / "envoy",
        on_event=partial(on_event, lambda environment: environment not in own),
        envoy_path=settings.router.envoy_path,
        concurrency=settings.router.concurrency,
        listen_host=settings.router.listen_host,
        fence=fence,
    )
    none = {
        name: RouterOptions(
            directory=settings.data_dir / "endpoints" / quote(name, safe="").replace(".", "%2E"),
            on_event=partial(on_event, name.__eq__),
            endpoints=_published(each),
            settle_s=(each.endpoints or Endpoints()).settle_s,
            fence=fence,
        )
        for name, each in own.items()
    }
    return RouterByEnvironment(
        {name: ROUTERS["none"](options) for name, options in none.items()},
        ROUTERS["envoy"](envoy),
        environment_of,
        partial(on_event, lambda environment: True),
    )


# --- private


def _published(environment: Environment) -> Published | None:
    endpoints = environment.endpoints
    if endpoints is None or not endpoints.file:
        return None
    return Published(endpoints.file, endpoints.format, endpoints.reload, endpoints.timeout_s, base_environment())
