"""Completion: what a shell is given when somebody presses Tab."""

from __future__ import annotations

from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from longshore.cli.completion import SHELLS, VARIABLE
from longshore.cli.root import cli
from support.fake_manager import Answer, summary


def offered(args: list[str], incomplete: str) -> list[str]:
    completer = ShellComplete(cli, {}, "longshore", VARIABLE)
    return [item.value for item in completer.get_completions(args, incomplete)]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.output


def test_commands_are_completed() -> None:
    assert offered([], "ro") == ["rollback"]


def test_names_are_those_the_manager_knows(manager: Any) -> None:
    page = {"deployments": [summary("shop"), summary("shed"), summary("api")], "total": 3, "limit": 500, "offset": 0}
    manager.on("GET", "", Answer(body=page))
    assert offered(["--url", manager.url, "--token", "secret", "status"], "sh") == ["shop", "shed"]


def test_a_manager_that_cannot_be_asked_offers_nothing() -> None:
    assert offered(["--url", "http://127.0.0.1:9", "--token", "x", "status"], "s") == []
