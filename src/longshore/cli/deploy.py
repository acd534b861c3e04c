"""deploy, and what goes before it: validate, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from longshore.cli.output import on_terminal, paint, say, say_json, seconds, table
from longshore.cli.progress import outcome_line, shown_progress
from longshore.cli.session import Session, in_session
from longshore.cli.spec import read_spec, spec_options
from longshore.cli.terms import change_options, conflict_options, override_option
from longshore.cli.waiting import rollout_goes_on

if TYPE_CHECKING:
    from longshore.client.results import Issue, Preview, Rollout, Validation


@click.command()
@spec_options
@click.option("--no-wait", is_flag=True, help="Return as soon as the rollout began.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting after so long; the rollout goes on.")
@click.option("--idempotency-key", metavar="KEY", help="The same key again deploys nothing again, for 24 h.")
@change_options
@conflict_options
@override_option
@in_session
def deploy(
    session: Session,
    no_wait: bool,
    timeout: float | None,
    idempotency_key: str | None,
    if_revision: int | None,
    on_conflict: str | None,
    queue_timeout: str | None,
    override: str | None,
    **given: Any,
) -> None:
    """Take a deployment to a version.

    \b
    longshore deploy -f longshore.toml --version 1.4.0
    longshore deploy --name shop --version 1.4.0 --artifact dist/shop.tar.gz --strategy rolling \\
        --replicas 3 --health-check-url http://127.0.0.1:8080/health

    Fields that are not given are those of the version that serves.
    """
    with session.client() as client:
        spec = read_spec(given, local=client.endpoint.is_local)
        name, version = spec.get("name", ""), spec.get("version", "")
        with (
            rollout_goes_on(str(name)),
            shown_progress(session, str(name), f"{name} {version}", silent=session.json or no_wait) as on_progress,
        ):
            rollout = client.deploy(
                spec,
                wait=not no_wait,
                timeout=timeout,
                idempotency_key=idempotency_key,
                on_progress=on_progress,
                if_revision=if_revision,
                on_conflict=on_conflict,
                queue_timeout=queue_timeout,
                override=override,
            )
    if session.json:
        say_json(rollout.raw)
    else:
        say_outcome(rollout, str(name))


@click.command()
@spec_options
@in_session
def validate(session: Session, **given: Any) -> None:
    """Say everything that a deploy would refuse, and what would surprise. Exit status 1 if it would be refused."""
    with session.client() as client:
        answer = client.validate(read_spec(given, local=client.endpoint.is_local))
    if session.json:
        say_json(answer.raw)
    else:
        _say_validation(answer)
    if not answer.valid:
        click.get_current_context().exit(1)


@click.command()
@spec_options
@in_session
def plan(session: Session, **given: Any) -> None:
    """Show what a deploy would do, step by step, without doing it."""
    with session.client() as client:
        preview = client.plan(read_spec(given, local=client.endpoint.is_local))
    if session.json:
        say_json(preview.raw)
    else:
        _say_plan(preview)


def say_outcome(rollout: Rollout, name: str) -> None:
    """The end of a rollout that succeeded, or the beginning of one that is not waited for."""
    name = rollout.deployment or name
    if rollout.status == "queued":
        say(f"the {rollout.kind} of {name} {rollout.version} is queued, as {rollout.id}. {rollout.message}")
        if rollout.waiting_for == "approval":
            say(f"somebody else lets it begin: `longshore approve {name} {rollout.id}`")
        return
    if rollout.end_time is None:
        say(f"rollout {rollout.id} of {name} to {rollout.version} began: `longshore watch {name}`")
        return
    before = f" (before: {rollout.previous_version})" if rollout.previous_version else ""
    failed = [step for step in rollout.steps if step.status == "failed" and not step.undo]
    for step in failed:
        say(paint(f"warning: {step.name}: {step.error or step.message}", "yellow"))
    outcome_line(True, f"{name} {rollout.version} serves after {seconds(rollout.duration)}{before}")


def _say_issue(issue: Issue, kind: str) -> None:
    say(f"{paint(kind, None)}: {f'{issue.field}: ' if issue.field else ''}{issue.message}")


def _say_validation(answer: Validation) -> None:
    for issue in answer.issues:
        _say_issue(issue, issue.severity)
    for warning in answer.warnings:
        _say_issue(warning, "warning")
    outcome_line(answer.valid, "a deploy would be accepted" if answer.valid else "a deploy would be refused")


def _say_plan(preview: Preview) -> None:
    for number, step in enumerate(preview.steps, 1):
        text = f"  {step.description}" if step.description and step.description != step.name else ""
        say(f"{number:3d}. {paint(step.name, bold=on_terminal())}{text}")
    if preview.changes:
        say()
        table(["field", "from", "to"], [[c.field, _shown(c.before), _shown(c.after)] for c in preview.changes])
    for warning in preview.warnings:
        _say_issue(warning, "warning")


def _shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
