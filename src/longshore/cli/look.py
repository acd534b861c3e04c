"""Looking: list, health, endpoints, releases. What is followed is in follow.py, `status` has a file of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from longshore.cli.output import paint, say, say_json, seconds, size, table, when
from longshore.cli.session import Session, in_session

if TYPE_CHECKING:
    from longshore.client.results import Endpoints

#: a component's or check's status → the mark it is listed with
_MARKS = {"healthy": "✓", "unhealthy": "✗", "unknown": "?", "degraded": "!"}


@click.command("list")
@click.option("--environment", help="Only those of that environment.")
@click.option("--state", help="Only those in that state.")
@click.option("--limit", type=click.IntRange(1, 500), help="One page of so many, instead of all.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Where the page begins.")
@in_session
def list_(session: Session, environment: str | None, state: str | None, limit: int | None, offset: int) -> None:
    """List deployments."""
    with session.client() as client:
        if limit is not None or offset or session.json:
            page = client.list(environment=environment, state=state, limit=limit or 500, offset=offset)
            rows, total = page.deployments, page.total
        else:
            rows = tuple(client.list_all(environment=environment, state=state))
            total = len(rows)
    if session.json:
        say_json(page.raw)
        return
    if not rows:
        say("there are no deployments" + (" that match" if environment or state else ""))
        return
    columns = [[r.name, r.version, r.state, r.health, r.environment, when(r.updated_at)] for r in rows]
    table(["name", "version", "state", "health", "environment", "updated"], columns)
    if total > offset + len(rows):
        say(f"{total} in all: --offset {offset + len(rows)} shows more")


@click.command()
@click.argument("name")
@in_session
def health(session: Session, name: str) -> None:
    """Probe a deployment now, instance by instance. Exit status 1 unless it is healthy."""
    with session.client() as client:
        report = client.health(name)
    if session.json:
        say_json(report.raw)
    else:
        say(f"{name}: {paint(report.overall)}{f'  {report.message}' if report.message else ''}")
        for key, component in report.components.items():
            _say_check("  ", component.name or key, component.status, component.message)
            for check in component.checks:
                _say_check("    ", check.name, check.status, check.message, f"  {seconds(check.duration)}")
    if report.overall != "healthy":
        click.get_current_context().exit(1)


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with each change, until Ctrl-C.")
@in_session
def endpoints(session: Session, name: str, follow: bool) -> None:
    """List where requests of a deployment are to go, for a balancer of your own."""
    with session.client() as client:
        if not follow:
            _say_endpoints(session, client.endpoints(name))
            return
        try:
            for found in client.follow_endpoints(name):
                _say_endpoints(session, found)
        except KeyboardInterrupt:
            return


@click.command()
@click.argument("name")
@in_session
def releases(session: Session, name: str) -> None:
    """List the versions that were deployed and which of them can be rolled back to."""
    with session.client() as client:
        answer = client.releases(name)
    if session.json:
        say_json(answer.raw)
        return
    rows = [
        [
            release.version,
            "serves" if release.current else "previous" if release.previous else "",
            release.state,
            (release.pinned_reason or "yes") if release.pinned else "",
            when(release.created_at),
            when(release.healthy_at),
            size(release.size_bytes),
            release.strategy,
            release.sha256[:12],
        ]
        for release in answer.releases
    ]
    table(["version", "", "state", "pinned", "created", "first healthy", "size", "strategy", "sha256"], rows)


def _say_endpoints(session: Session, found: Endpoints) -> None:
    if session.json:
        click.echo(json.dumps(found.raw, ensure_ascii=False))
        return
    served = f"port {found.port}" if found.port is not None else "no port"
    nobody = "" if found.serves else "; nobody is to get requests now"
    say(f"{served}, router {found.router}, revision {found.revision}{nobody}")
    rows = [
        [
            pool.pool,
            f"{round(pool.weight / len(pool.targets), 1):g} %",
            target.instance,
            target.version,
            target.host or "here",
            f"{target.address}:{target.port}",
            paint("ready" if target.ready else "not ready", "green" if target.ready else "red"),
        ]
        for pool in found.pools
        for target in pool.targets
    ]
    if rows:
        table(["pool", "share", "instance", "version", "host", "address", ""], rows)


def _say_check(indent: str, name: str, status: str, message: str, took: str = "") -> None:
    mark = paint(_MARKS.get(status, "?"), {"healthy": "green", "unhealthy": "red"}.get(status, "yellow"))
    say(f"{indent}{mark} {name}: {paint(status)}{f'  {message}' if message else ''}{took}")
