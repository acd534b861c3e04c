"""The guide "from a fresh VPS to a zero-downtime deploy", its second way, with its own commands on a real host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents import ROOT, text_of
from support.hosts import HostSet, HostsMissing, open_hosts

pytestmark = pytest.mark.slow

GUIDE = "docs/guide/ten-minutes.md"
BOUND_S = 600


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("hosts"), 1) as hosts:
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


def commands() -> str:
    """Whatever stands after a prompt in the second way, as one script."""
    (part,) = re.findall(r"^## B\. .*?(?=^## )", text_of(GUIDE), re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```console\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    prompted = (line for block in blocks for line in block.splitlines() if line[:2] in ("$ ", "> ") or line == ">")
    return "\n".join(line[2:] for line in prompted) + "\n"


def test_every_command_of_the_second_way_does_what_the_guide_says(tmp_path: Path, hosts: HostSet) -> None:
    (host,) = hosts
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    programs.mkdir()
    # Its owner got onto the VPS before: with this key.
    (programs / "ssh").write_text(
        f'#!/bin/sh\nexec /usr/bin/ssh -F none -i {host.key} -o UserKnownHostsFile={host.known_hosts} "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    script = commands().replace("VPS=ADDRESS", f"VPS={host.address}")
    script = script.replace(". .venv/bin/activate", f"export PATH={Path(sys.executable).parent}:$PATH")
    # All that is started, the manager and Envoy too, ends with the first process of a namespace of theirs.
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    environment = {**os.environ, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    began = time.monotonic()
    done = subprocess.run(
        hosts.command(*apart, "bash", "-euc", script),
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BOUND_S,
    )  # fmt: skip
    log = home / "longshore/log"
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}"
    assert "LOST" not in done.stdout + done.stderr
    answers = re.findall(r"^\w+ to version [\d.]+$", done.stdout, re.MULTILINE)
    assert answers == ["Hello to version 1.1.0", "Welcome to version 1.0.0"]
    assert len(re.findall(r"shop@\d+-\d+\.service", done.stdout)) == 3
    assert host.shell("ls -d /etc/systemd/system/shop@* /srv/shop 2>/dev/null; true") == ""
    assert time.monotonic() - began < BOUND_S
