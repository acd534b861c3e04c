"""From day to day: stop, start, configure, and which releases are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from longshore.cli.deploy import say_outcome
from longshore.cli.output import say, say_json, seconds, size
from longshore.cli.progress import outcome_line, shown_progress
from longshore.cli.session import Session, in_session
from longshore.cli.spec import read_patch
from longshore.cli.terms import change_options, conflict_options, override_option
from longshore.cli.waiting import rollout_goes_on

if TYPE_CHECKING:
    from longshore.cli.progress import OnProgress
    from longshore.client import Longshore
    from longshore.client.results import Rollout

_no_wait = click.option("--no-wait", is_flag=True, help="Return as soon as it began.")


@click.command()
@click.argument("name")
@_no_wait
@change_options
@conflict_options
@override_option
@in_session
def stop(session: Session, name: str, no_wait: bool, if_revision: int | None, **terms: Any) -> None:
    """Stop every instance: clients get 503 until the next start, deploy or rollback."""
    done = _roll(
        session, name, f"{name}: stop", no_wait,
        lambda client, on_progress: client.stop(
            name, wait=not no_wait, on_progress=on_progress, if_revision=if_revision, **terms
        ),
    )  # fmt: skip
    if done is not None:
        outcome_line(True, f"{name} is stopped after {seconds(done.duration)}: `longshore start {name}` starts it")


@click.command()
@click.argument("name")
@_no_wait
@change_options
@conflict_options
@override_option
@in_session
def start(session: Session, name: str, no_wait: bool, if_revision: int | None, **terms: Any) -> None:
    """Start what was stopped: the same release, as many instances."""
    done = _roll(
        session, name, f"{name}: start", no_wait,
        lambda client, on_progress: client.start(
            name, wait=not no_wait, on_progress=on_progress, if_revision=if_revision, **terms
        ),
    )  # fmt: skip
    if done is not None:
        say_outcome(done, name)


@click.command()
@click.argument("name")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Any field, dotted. Repeatable.")
@click.option("--unset", multiple=True, metavar="FIELD", help="Back to its default. Repeatable.")
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Environment variable of the app. Repeatable.")
@click.option("--unset-env", multiple=True, metavar="KEY", help="Without that variable. Repeatable.")
@_no_wait
@change_options
@conflict_options
@override_option
@in_session
def configure(
    session: Session,
    name: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    env: tuple[str, ...],
    unset_env: tuple[str, ...],
    no_wait: bool,
    if_revision: int | None,
    **terms: Any,
) -> None:
    """Change what serves without a new artifact: a release of its own, which can be rolled back.

    \b
    longshore configure shop --env LOG_LEVEL=debug --unset-env OLD_FLAG
    longshore configure shop --set health_check.interval=2s --unset resources.memory
    """
    patch = read_patch(assignments, unset, env, unset_env)
    done = _roll(
        session, name, f"{name}: change", no_wait,
        lambda client, on_progress: client.configure(
            name, patch, wait=not no_wait, on_progress=on_progress, if_revision=if_revision, **terms
        ),
    )  # fmt: skip
    if done is not None:
        say_outcome(done, name)


@click.command()
@click.argument("name")
@click.argument("version")
@click.option("--reason", default="", help="Shown in the list of releases.")
@change_options
@in_session
def pin(session: Session, name: str, version: str, reason: str, if_revision: int | None) -> None:
    """Never prune that release, however old it gets."""
    with session.client() as client:
        release = client.pin(name, version, reason=reason, if_revision=if_revision)
    if session.json:
        say_json(release.raw)
    else:
        outcome_line(True, f"{name} {release.version} is pinned: it is never pruned")


@click.command()
@click.argument("name")
@click.argument("version")
@change_options
@in_session
def unpin(session: Session, name: str, version: str, if_revision: int | None) -> None:
    """Let that release be pruned as any other."""
    with session.client() as client:
        release = client.unpin(name, version, if_revision=if_revision)
    if session.json:
        say_json(release.raw)
    else:
        outcome_line(True, f"{name} {release.version} may be pruned")


@click.command()
@click.argument("name")
@click.option("--keep", type=click.IntRange(1, 1000), metavar="N", help="Newest to keep. [as the manager does]")
@change_options
@override_option
@in_session
def prune(session: Session, name: str, keep: int | None, if_revision: int | None, override: str | None) -> None:
    """Remove old releases now; never one that serves, served before, runs or is pinned."""
    with session.client() as client:
        pruned = client.prune(name, keep=keep, if_revision=if_revision, override=override)
    if session.json:
        say_json(pruned.raw)
        return
    for version in pruned.removed:
        say(f"removed {version}")
    count = len(pruned.removed)
    freed = f"{count} release{'s' if count != 1 else ''} of {name} removed, {size(pruned.freed_bytes)} freed"
    outcome_line(True, freed if count else f"{name} has no release to remove")


def _roll(
    session: Session,
    name: str,
    title: str,
    no_wait: bool,
    begin: Callable[[Longshore, OnProgress | None], Rollout],
) -> Rollout | None:
    """The rollout that succeeded, for a last line; None: all has been said."""
    with (
        session.client() as client,
        rollout_goes_on(name),
        shown_progress(session, name, title, silent=session.json or no_wait) as on_progress,
    ):
        rollout = begin(client, on_progress)
    if session.json:
        say_json(rollout.raw)
        return None
    if rollout.end_time is None:
        say_outcome(rollout, name)
        return None
    return rollout
