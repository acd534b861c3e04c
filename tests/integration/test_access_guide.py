"""The guide to locks, freeze windows and tokens is followed on a real manager, by the command line."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from longshore.app import build
from longshore.cli.root import cli
from longshore.client import AsyncLongshore
from longshore.freezes import frozen
from longshore.settings import RateLimits, Settings, SettingsError, load
from support.api_client import serving
from support.documents import blocks_of

GUIDE = "docs/guide/access.md"


def plain(line: str) -> str:
    """Without what differs from run to run."""
    line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", line)
    return re.sub(r"\b\d+(\.\d+)? m?s\b|(?<=\S) +", lambda found: "# s" if found[0].strip() else " ", line)


def examples() -> list[tuple[str, list[str]]]:
    """Commands of the guide, with the lines that follow each."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks_of(GUIDE, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


async def test_the_guide_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop-0.9", "shop-1.0", "shop-1.1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=tmp_path / "data", rate_limits=RateLimits(deploy=0, status=0, list=0))
    async with build(settings) as manager, serving(manager.app) as running:
        monkeypatch.setenv("LONGSHORE_URL", running.url)
        monkeypatch.setenv("LONGSHORE_TOKEN", str(manager.token))
        async with AsyncLongshore() as client:
            for version in ("0.9", "1.0"):
                artifact = str(tmp_path / f"shop-{version}")
                await client.deploy(name="shop", version=version, artifact_path=artifact, environment="staging")
        said: Any
        for command, expected in examples():
            said = await asyncio.to_thread(CliRunner().invoke, cli, shlex.split(command)[1:], catch_exceptions=False)
            assert (said.exit_code == 0) is not any(line.startswith("error") for line in expected), said.output
            lines = iter([plain(line) for line in said.output.splitlines()])
            for line in expected:
                wanted = plain(line).split("[…]")[0].rstrip()
                assert any(each.startswith(wanted) for each in lines), f"{command}: {line}\n\n{said.output}"
        (example,) = blocks_of(GUIDE, "python")
        told: list[str] = []
        await asyncio.to_thread(exec, compile(example, GUIDE, "exec"), {"print": lambda *said: told.append(str(said))})
        assert told == ["('locked by', 'admin')"]


def test_the_windows_of_the_guide_are_some_and_a_wrong_one_is_named_as_it_says(tmp_path: Path) -> None:
    (text,) = blocks_of(GUIDE, "toml")
    path = tmp_path / "longshore.toml"
    path.write_text(text)
    windows = load(path).environment("production").freeze
    assert len(windows) == 2
    weekend = 1_777_730_400.0  # 2026-05-02, 16:00 in Berlin: a Saturday
    assert frozen(windows, weekend) == (windows[0], 1_777_874_400.0)  # Monday at eight
    path.write_text(text.replace("0 16 * * FRI", "0 16 * * FRIDAYS"))
    with pytest.raises(SettingsError, match=re.escape("longshore.toml:2: environments.production.freeze.0.cron: ")):
        load(path)
