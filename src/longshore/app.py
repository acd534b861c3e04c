"""The composition root: everything is built here, in one order, and taken down in the reverse one.

lock the data directory → open the store → take over → restore the router → recover rollouts → serve
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop
from fastapi import FastAPI

from longshore import __version__
from longshore.access.locks import Locks
from longshore.access.tokens import Tokens
from longshore.api import server as api_server
from longshore.api.app import create_app
from longshore.api.settings import ApiSettings, RateLimits
from longshore.api.wire_request import parse_request
from longshore.app_router import build_router
from longshore.bus import Bus
from longshore.clock import SystemClock
from longshore.concurrency import beside
from longshore.data_dir import admin_token, announced, locked
from longshore.doctor import Doctor
from longshore.fence import EpochFence, Fence
from longshore.files import WorkingDirectory
from longshore.fleet import Fleet
from longshore.health import probes
from longshore.health.board import Board
from longshore.health.log_times import keep_log_times
from longshore.health.monitor import Monitor
from longshore.health.readiness import Readiness
from longshore.hosts.base import HERE
from longshore.lifecycle import ending
from longshore.machines import Machines
from longshore.model import Spec
from longshore.notify import keep_alive, notify
from longshore.ports import PortRange
from longshore.rollout.providing import provide
from longshore.rollout.runner import Runner
from longshore.rollout.service import Service
from longshore.rollout.world import World
from longshore.routers.base import Router, RouterError, Traffic
from longshore.routers.by_environment import RouterByEnvironment
from longshore.settings import Settings, SettingsError
from longshore.store import Store
from longshore.store.backup import Backups
from longshore.store.sqlite import DATABASE, Damaged, SchemaTooNew, WriteHook
from longshore.webhooks.desk import Desk
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.sender import Sender

log = logging.getLogger("longshore")

LOOPBACK = ("127.", "localhost", "::1")


@dataclass
class Manager:
    """A built manager: what serves, and what a test may want to look at."""

    settings: Settings
    app: FastAPI
    service: Service
    world: World
    monitor: Monitor
    token: str | None


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError for what cannot work, before anything is started."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    for chatty in ("asyncssh", "httpx2", "uvicorn"):  # lines that say nothing to an operator
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def defaults_of(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """The defaults of each environment, read as a request is. Raises SettingsError naming the setting."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, environment in settings.environments.items():
        request = parse_request(environment.defaults, require=())
        for issue in request.issues:
            raise SettingsError(f"environments.{name}.defaults.{issue.field}: {issue.message}")
        found[name] = request.fields
    return found


async def serve(settings: Settings, *, on_write: WriteHook | None = None) -> None:
    """The whole life of a manager. Raises LeaseLost where another one has taken over."""
    with ending() as end:
        check(settings)
        async with build(settings, on_write=on_write) as manager:
            listener = _listen(settings)
            host, port = listener.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            server = api_server.build(manager.app)
            end.when_asked(server.stop)
            with announced(settings.data_dir, url, __version__):
                log.info("Longshore %s listens on %s, data in %s", __version__, url, settings.data_dir)
                async with beside(end.watch(manager.world.fence), keep_alive()):
                    notify("READY=1", f"STATUS=listens on {url}")
                    await server.serve(sockets=[listener])
            log.info("stopping: rollouts stay journalled, applications and the router go on")
        if end.lost is not None:
            raise end.lost


def check(settings: Settings) -> None:
    """What settings alone can tell."""
    if settings.no_auth:
        if not settings.host.startswith(LOOPBACK):
            raise SettingsError(f"--no-auth is for loopback only, not for {settings.listen}: leave it out.")
        log.warning("NO AUTHENTICATION: everybody on this machine may deploy (--no-auth)")
    for name, environment in settings.environments.items():
        if environment.user is not None and not environment.hosts:
            if os.geteuid() != 0:
                raise SettingsError(f"environments.{name}.user needs a manager that is run by root.")
            try:
                pwd.getpwnam(environment.user)
            except KeyError:
                raise SettingsError(f"environments.{name}.user: there is no user {environment.user!r}.") from None
    for webhook in settings.webhooks:
        try:
            webhook.key()
        except (OSError, ValueError) as error:
            raise SettingsError(f"webhooks: the secret_file of {webhook.name} cannot be used: {error}.") from error


@asynccontextmanager
async def build(settings: Settings, *, on_write: WriteHook | None = None) -> AsyncIterator[Manager]:
    """A manager that has restored, recovered and is ready; taken down at the end, applications untouched."""
    clock, bus, defaults = SystemClock(), Bus(), defaults_of(settings)
    with locked(settings.data_dir), _taken_over(settings, clock, on_write) as (store, fence):
        board = Board(clock, store.touch)
        machines = Machines(settings, store.manager_id, store.db.epoch, fence)
        driver_of = machines.driver_of
        with _said("The router cannot be used"):
            router = build_router(settings, store, fence)

        world = _world(settings, store, clock, bus, board, router, machines, fence)
        runner = Runner(world, settings)
        service = Service(world, settings, defaults, runner)
        outbox = Outbox(store, clock, settings.webhooks)
        world.tell = outbox.tell
        sender = Sender(store, clock, outbox, settings.webhooks, fence)
        backups = Backups(settings.data_dir, settings.keep_backups, clock)
        monitor = Monitor(world, driver_of, settings.keep_events, backups, machines.process)
        ready = asyncio.Event()
        token = None if settings.no_auth else admin_token(settings.data_dir)
        desk = Desk(store, clock, outbox, settings.webhooks)
        tokens = Tokens(store, clock)
        locks = Locks(world, settings)
        doctor = Doctor(settings, driver_of, machines.units_of, locks.check_environment)
        app = create_app(
            service, desk, tokens, locks, doctor, _api_settings(settings, token, tokens),
            ready=ready.is_set, version=__version__,
        )  # fmt: skip
        try:
            await machines.meet({each.environment for each in store.deployments()})
            with _said("The router cannot take over"):
                await _restore_traffic(world, router)
            await monitor.sweep()
            await runner.recover()
            world.look_at_queue(None)
            times = keep_log_times(store, world.fleet, driver_of)
            async with beside(monitor.run(), sender.run(), times):
                ready.set()
                yield Manager(settings, app, service, world, monitor, token)
        finally:
            await service.close()
            await runner.close()
            await router.close()
            await machines.close()


# --- private: parts


@contextmanager
def _taken_over(settings: Settings, clock: SystemClock, on_write: WriteHook | None) -> Iterator[tuple[Store, Fence]]:
    """The store, which is this manager's from here on, and the fence that says as long as that is so."""
    path = settings.data_dir / DATABASE
    with ExitStack() as stack:
        try:
            store = Store(path, clock, on_write)
            stack.callback(store.close)
            store.take_over()
            fence = EpochFence(path, store.db.epoch)
            stack.callback(fence.close)
        except (SchemaTooNew, Damaged) as error:
            raise SettingsError(error.message) from error
        except sqlite3.OperationalError as error:
            why = f"The database {path} cannot be opened: {error}. Look for space on its disk, and for who else uses it"
            raise SettingsError(f"{why}: `fuser {path}`.") from error
        yield store, fence


@contextmanager
def _said(what: str) -> Iterator[None]:
    """What keeps a manager from starting is a sentence, not a traceback. Applications and Envoy go on meanwhile."""
    try:
        yield
    except RouterError as error:
        raise SettingsError(f"{what}: {error}.") from error


def _world(
    settings: Settings,
    store: Store,
    clock: SystemClock,
    bus: Bus,
    board: Board,
    router: RouterByEnvironment,
    machines: Machines,
    fence: Fence,
) -> World:
    def user_of(spec: Spec) -> str | None:
        return settings.environment(spec.environment).user

    def owner_of(spec: Spec) -> tuple[int, int] | None:
        user = user_of(spec)
        if user is None or HERE not in machines.hosts_of(spec.environment):
            return None  # what lies here is a copy of ours; on the hosts it is the user's
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry.pw_gid

    first, _, last = settings.instance_ports.partition("-")
    logs = settings.data_dir / "logs"
    ports = PortRange(int(first), int(last))
    fleet = Fleet(
        store=store,
        clock=clock,
        driver_of=machines.driver_of,
        user_of=user_of,
        board=board,
        ports=ports,
        log_path=lambda deployment, instance: logs / deployment / f"{instance}.log",
        hosts_of=machines.hosts_of,
    )
    world = World(
        store=store,
        clock=clock,
        bus=bus,
        board=board,
        fleet=fleet,
        readiness=Readiness(
            fleet=fleet,
            store=store,
            clock=clock,
            driver_of=machines.driver_of,
            board=board,
            prober=probes,
            opens_ports=lambda environment: settings.environment(environment).router != "none",
        ),
        router=router,
        router_of=router.of,
        driver_of=machines.driver_of,
        ports=ports,
        artifact_limits=settings.artifacts.limits(),
        keep_releases=settings.keep_releases,
        logs=logs,
        user_of=user_of,
        owner_of=owner_of,
        directory_of=partial(WorkingDirectory, fence=fence),
        hosts_of=machines.hosts_of,
        fence=fence,
    )
    fleet.provide = partial(provide, world)
    return world


async def _restore_traffic(world: World, router: Router) -> None:
    """The whole desired routing, never a part of it: a router that is told too little drops the rest."""
    traffic: Mapping[str, Traffic] = {
        deployment.name: world.fleet.traffic(deployment.routing)
        for deployment in world.store.deployments()
        if deployment.routing is not None
    }
    await router.restore(traffic)


def _api_settings(settings: Settings, token: str | None, tokens: Tokens) -> ApiSettings:
    limits = settings.rate_limits
    return ApiSettings(
        token=token, find_token=tokens.find, rate_limits=RateLimits(limits.deploy, limits.status, limits.list)
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingsError(f"Cannot listen on {settings.listen}: {error.strerror or error}.") from error
    listener.setblocking(False)
    return listener
