"""What this machine knows: config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from longshore.cli.output import paint, say, say_json
from longshore.cli.session import Session, in_session


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="Settings in TOML.")
@in_session
def config(session: Session, config_file: Path | None) -> None:
    """Print the settings that `serve` would run with here, and the manager that commands would speak to.

    Secrets are masked. FILE, LONGSHORE_* and --data-dir count as they do for `serve`.
    """
    from longshore.settings import SettingsError, load

    try:
        settings = load(config_file, {"data_dir": session.data_dir} if session.data_dir else {})
    except SettingsError as error:
        say(paint(f"error: {error}", "red"), err=True)
        click.get_current_context().exit(1)
    shown = {"settings": _masked(settings.model_dump(mode="json")), "manager": _manager(session)}
    if session.json:
        say_json(shown)
        return
    for section, values in shown.items():
        say(paint(f"# {section}", "bright_black"))
        for name, value in _flat(values):
            say(f"{name} = {value}")


def _manager(session: Session) -> dict[str, Any]:
    from longshore.client.discovery import discover
    from longshore.client.errors import ClientError
    from longshore.masking import MASK, mask_urls

    try:
        endpoint = discover(session.url, session.token, session.data_dir)
    except ClientError as error:
        return {"url": None, "why": error.message}
    return {"url": mask_urls(endpoint.url), "from": endpoint.source, "token": MASK if endpoint.token else None}


def _masked(value: Any, key: str = "") -> Any:
    from longshore.masking import mask_value

    if isinstance(value, Mapping):
        return {name: _masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, key) for item in value]
    return mask_value(key, value) if isinstance(value, str) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", json.dumps(value, ensure_ascii=False)))
    return lines
