"""Commands on hosts that are lost: whether they were begun there."""

from __future__ import annotations

from pathlib import Path

import pytest

from longshore.drivers.systemd.commands import NotBegun, run_command
from longshore.hosts import HostUnreachable
from support.sh_host import Cut, ShHost


async def lost_at(directory: Path, cut: Cut) -> HostUnreachable:
    """What is said of a command where the connection is lost then, and does not come back."""
    host = ShHost(directory)
    host.comes_back = False
    host.cut(cut)
    with pytest.raises(HostUnreachable) as caught:
        await run_command(
            host,  # type: ignore[arg-type]
            "0192-rollout-pre_deploy-1",
            "true",
            directory=directory,
            environment={},
            user=None,
            timeout_s=5.0,
        )
    return caught.value


async def test_what_was_never_sent_to_its_host_was_not_begun(tmp_path: Path) -> None:
    assert isinstance(await lost_at(tmp_path, Cut(0)), NotBegun)
    assert not (tmp_path / "commands").exists()


async def test_of_what_was_sent_to_its_host_that_is_not_said(tmp_path: Path) -> None:
    assert not isinstance(await lost_at(tmp_path, Cut(1, after_input=0)), NotBegun)
