"""A deployment specification out of a file, flags and --set, in that order: the later ones win."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: parameters of `spec_options` that are no fields of the API
_OTHERS = ("file", "env", "assignments")


def spec_options(command: F) -> F:
    """-f, a flag for each field, --env and --set; their values are what `read_spec` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_STRATEGIES = click.Choice(["rolling", "blue-green", "canary", "recreate"])

# To add a field of the API: a line here; its parameter name is the field's name. A field that is an object needs no
# line: --set reaches into it (--set canary.analysis.min_requests=200). docs/guide/cli.md lists them.
# Durations are passed on as they are written (30s, 5m): the manager reads and checks them.
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-f", "--file", metavar="FILE", help="Specification in TOML or JSON; - reads standard input."),
    click.option("--name", help="Name of the deployment."),
    click.option("--version", help="Version to deploy."),
    click.option("--artifact", "--artifact-path", "artifact_path", metavar="PATH", help="Directory, archive or file."),
    click.option("--artifact-sha256", metavar="HEX", help="SHA-256 that the artifact must have."),
    click.option("--environment", help="Environment of the manager's configuration."),
    click.option("--strategy", type=_STRATEGIES, help="How the new version takes over."),
    click.option("--replicas", type=int, help="Number of instances."),
    click.option("--command", help="Shell command that runs the release."),
    click.option("--port", type=int, help="Public port."),
    click.option("--health-check-url", metavar="URL", help="What is asked whether it is healthy."),
    click.option("--env", multiple=True, metavar="KEY=VALUE", help="Environment variable of the app. Repeatable."),
    click.option("--working-directory", metavar="DIR", help="Where releases are kept."),
    click.option("--service-name", metavar="NAME", help="Line of the Procfile, or unit, that runs."),
    click.option("--shared-path", "shared_paths", multiple=True, metavar="PATH", help="Kept across releases."),
    click.option("--dependency", "dependencies", multiple=True, metavar="NAME", help="Must be healthy. Repeatable."),
    click.option("--pre-deploy-hook", "pre_deploy_hooks", multiple=True, metavar="COMMAND", help="Run before."),
    click.option("--post-deploy-hook", "post_deploy_hooks", multiple=True, metavar="COMMAND", help="Run after."),
    click.option("--post-deploy-failure", type=click.Choice(["warn", "rollback"]), help="When a post hook fails."),
    click.option("--rollback-on-failure/--no-rollback-on-failure", default=None, help="Undo a rollout that fails."),
    click.option("--drain-timeout", metavar="TIME", help="Bound on connections of an instance that leaves."),
    click.option("--stop-timeout", metavar="TIME", help="Between SIGTERM and SIGKILL."),
    click.option("--hook-timeout", metavar="TIME", help="Bound on each hook."),
    click.option("--progress-deadline", metavar="TIME", help="A rollout without progress for this long fails."),
    click.option("--hooks-on", type=click.Choice(["local", "once", "each"]), help="Where hooks run."),
    click.option("--max-failed-hosts", type=int, help="Hosts that may be out of reach."),
    click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Any field, dotted. Repeatable."),
)


def read_spec(given: Mapping[str, Any], *, local: bool) -> dict[str, Any]:
    """The fields to send, from the values of `spec_options`.

    local   the manager runs on this machine: relative paths are made absolute, those in the file from its directory,
            those of flags from the working directory. Paths of another machine are sent as they are written.
    Raises click.UsageError for a file that cannot be read or understood and for a malformed KEY=VALUE.
    """
    spec: dict[str, Any] = read_file(given["file"], local=local) if given["file"] else {}
    for field, value in given.items():
        if field in _OTHERS or value is None or value == ():
            continue
        spec[field] = list(value) if isinstance(value, tuple) else value
    if given["env"]:
        variables = dict(_pair(text, "--env") for text in given["env"])
        spec["configuration"] = {**_object(spec, "configuration", "--env"), **variables}
    for text in given["assignments"]:
        path, value = _pair(text, "--set")
        assign(spec, path.split("."), _value(value))
    return make_absolute(spec, Path.cwd()) if local else spec


def read_patch(
    assignments: Sequence[str], unset: Sequence[str], env: Sequence[str], unset_env: Sequence[str]
) -> dict[str, Any]:
    """A merge patch (RFC 7396) from --set FIELD=VALUE, --unset FIELD, --env KEY=VALUE and --unset-env KEY.

    Raises click.UsageError where nothing is given, one says the opposite of another, or a KEY=VALUE is malformed.
    """
    patch: dict[str, Any] = {}
    named = [
        *((path.split("."), None, "--unset") for path in unset),
        *((["configuration", key], None, "--unset-env") for key in unset_env),
        *((path.split("."), _value(value), "--set") for path, value in (_pair(text, "--set") for text in assignments)),
        *((["configuration", key], value, "--env") for key, value in (_pair(text, "--env") for text in env)),
    ]
    seen: set[str] = set()
    for path, value, option in named:
        dotted = ".".join(path)
        if dotted in seen:
            raise click.UsageError(f"{option}: {dotted} is given twice")
        seen.add(dotted)
        assign(patch, path, value, option)
    if not patch:
        raise click.UsageError("say what is to change: --set, --unset, --env or --unset-env")
    return patch


def read_file(name: str, *, local: bool) -> dict[str, Any]:
    """A TOML or JSON file, told by its name, else by its first character."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name} cannot be read: {error}") from error
    is_json = name.endswith(".json") or (not name.endswith(".toml") and text.lstrip().startswith("{"))
    try:
        spec = json.loads(text) if is_json else _toml(text)
    except ValueError as error:
        raise click.UsageError(f"{name} is no valid {'JSON' if is_json else 'TOML'}: {error}") from error
    if not isinstance(spec, dict):
        raise click.UsageError(f"{name} must hold an object with the fields of a deployment")
    base = Path.cwd() if name == "-" else Path(name).absolute().parent
    return make_absolute(spec, base) if local else spec


def make_absolute(spec: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """artifact_path and working_directory, where they are relative, made absolute from `base`; `~` is expanded."""
    done = dict(spec)
    for field in ("artifact_path", "working_directory"):
        value = done.get(field)
        if isinstance(value, str) and value:
            done[field] = str((base / Path(value).expanduser()).absolute())
    return done


def assign(spec: dict[str, Any], path: Sequence[str], value: Any, option: str = "--set") -> None:
    """Set a field by its dotted path, making the objects on the way."""
    *parents, last = path
    if not all(path):
        raise click.UsageError(f"{option} {'.'.join(path)}: a field is written like health_check.interval")
    at = spec
    for depth, part in enumerate(parents):
        at[part] = at = dict(_object(at, part, f"{option} {'.'.join(path[: depth + 1])}"))
    at[last] = value


def _object(spec: Mapping[str, Any], field: str, where: str) -> Mapping[str, Any]:
    value = spec.get(field, {})
    if not isinstance(value, Mapping):
        raise click.UsageError(f"{where}: {field} is {value!r} already, which holds no fields")
    return value


def _pair(text: str, option: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.UsageError(f"{option} {text}: write it as KEY=VALUE")
    return key, value


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself: 3, true, ["a"], {"weight": 5}, 30s."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)
