"""From what a request gives to a complete Spec: inherited and default values filled in."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from longshore.errors import SpecInvalid
from longshore.files.layout import VERSION
from longshore.masking import mask_value
from longshore.model import Deployment, Spec

R = TypeVar("R", bound=Any)

#: optional fields beyond the seed contract: what a request leaves out comes from the current release
INHERITED = frozenset(
    {
        "replicas",
        "command",
        "port",
        "configuration",
        "shared_paths",
        "health_check",
        "rolling",
        "canary",
        "blue_green",
        "recreate",
        "drain_timeout",
        "stop_timeout",
        "hook_timeout",
        "progress_deadline",
        "resources",
        "post_deploy_failure",
        "systemd",
        "hooks_on",
        "host_labels",
        "max_failed_hosts",
    }
)


def resolve(
    given: Mapping[str, Any],
    *,
    current: Spec | None,
    deployment: Deployment | None,
    defaults: Mapping[str, Any],
    apps: Path,
    hosts: int = 0,
) -> Spec:
    """The Spec that a request means.

    given     well-typed fields of the request, groups as patches (rollout/request.py)
    current   spec of the committed release: fields beyond the seed that are not given are taken from it …
    defaults  … else from the environment's defaults, in the same form as `given`; else the built-in ones apply
    apps      where a deployment without a working_directory lives, below its name
    hosts     of the environment, where those are other machines: as many instances unless somebody says otherwise

    The public port is inherited as the one that serves now, wherever it was named, so that leaving out
    health_check_url never takes a running application off its port. `name`, `version` and `artifact_path` may be
    missing (validation then says so); they are "" here.
    """
    name = given.get("name", "")
    spec = Spec(name=name, version=given.get("version", ""), artifact_path=given.get("artifact_path", ""))
    spec = replace(spec, replicas=max(1, hosts))
    spec = _patched(spec, {key: value for key, value in defaults.items() if key not in ("name", "version")})
    if current is not None:
        spec = replace(spec, **{key: getattr(current, key) for key in INHERITED})
    if deployment is not None:
        spec = replace(spec, working_directory=deployment.working_directory, environment=deployment.environment)
    spec = _patched(spec, given)
    if not spec.working_directory:
        spec = replace(spec, working_directory=str(apps / name))
    if spec.public_port is None and deployment is not None and deployment.public_port is not None:
        spec = replace(spec, port=deployment.public_port)
    elif "port" not in given and spec.port is not None and _named_port(spec) is not None:
        # An inherited port gives way to the one that this request's health_check_url names.
        spec = replace(spec, port=None)
    return spec


#: what a change cannot touch without the artifact: its files, or where they are
FIXED = frozenset(
    {
        "name",
        "version",
        "artifact_path",
        "artifact_sha256",
        "environment",
        "working_directory",
        "service_name",
        "shared_paths",
    }
)
#: fields that are maps of strings, which a change patches key by key
MAPS = ("configuration", "host_labels")
_CHANGED = re.compile(r"\+c\d+$")


def changed(current: Spec, patch: Mapping[str, Any], dropped: Collection[str]) -> Spec:
    """The spec after a change without a new artifact.

    patch     well-typed fields, groups as patches (rollout/request.py); MAPS are patches as well
    dropped   dotted paths that go back to the built-in default, or out of one of MAPS

    The public port stays whatever becomes of the URL that named it, unless the change is about the port. A variable
    that is given as it is shown, masked, stays as it is.
    """
    default = Spec(current.name, current.version, current.artifact_path)
    spec = current
    for path in dropped:
        group, _, variable = path.partition(".")
        if group in MAPS and variable:
            left = {key: value for key, value in getattr(spec, group).items() if key != variable}
            spec = _patched(spec, {group: left})
        else:
            spec = _reset(spec, default, path)
    given = patch.get("configuration", {})
    meant = {key: text for key, text in given.items() if text != _shown(current, key)}
    labels = {**spec.host_labels, **patch.get("host_labels", {})}
    spec = _patched(spec, {**patch, "configuration": {**spec.configuration, **meant}, "host_labels": labels})
    if "port" not in patch and "port" not in dropped:
        if spec.public_port is None:
            spec = replace(spec, port=current.public_port)
        elif _named_port(spec) not in (None, spec.public_port):
            spec = replace(spec, port=None)
    return spec


def changed_version(version: str, taken: Collection[str]) -> str:
    """The version of a change of this one: `1.4.2+c1`, then `1.4.2+c2`, the next that is not taken.

    Raises SpecInvalid where that would be longer than a version may be.
    """
    base = _CHANGED.sub("", version)
    wanted = next(wanted for number in count(1) if (wanted := f"{base}+c{number}") not in taken)
    if not VERSION.fullmatch(wanted):
        raise SpecInvalid(
            f"The changed release would be version {wanted!r}, which is {len(wanted)} characters long, and a version "
            "may have 128: deploy it under a shorter version first.",
            operation="change",
        )
    return wanted


def _shown(spec: Spec, key: str) -> str | None:
    """How a variable that is there is shown."""
    return mask_value(key, spec.configuration[key]) if key in spec.configuration else None


def _named_port(spec: Spec) -> int | None:
    return replace(spec, port=None).public_port


def _reset(record: R, default: R, path: str) -> R:
    """The record with what a dotted path names as it is in `default`."""
    head, _, rest = path.partition(".")
    value = getattr(default, head)
    reset: R = replace(record, **{head: _reset(getattr(record, head), value, rest) if rest else value})
    return reset


def _patched(record: R, patch: Mapping[str, Any]) -> R:
    """The record with the given fields; a mapping given for a nested record patches that in turn."""
    known = {field.name for field in fields(record)}
    changes: dict[str, Any] = {}
    for key, value in patch.items():
        if key not in known:
            continue
        old = getattr(record, key)
        changes[key] = _patched(old, value) if is_dataclass(old) and isinstance(value, Mapping) else value
    changed: R = replace(record, **changes)
    return changed
