"""Output of several places in one log."""

from __future__ import annotations

from pathlib import Path

import pytest

from longshore.proc import BEYOND
from longshore.rollout import prefixed_log
from longshore.rollout.prefixed_log import PrefixedLog


def test_each_line_stands_after_its_place_however_it_came(tmp_path: Path) -> None:
    web1, web2 = (PrefixedLog(tmp_path / "logs/hooks.log", f"{name}: ") for name in ("web1", "web2"))
    for said in (b"mig", b"rating\n\nthird", b" line"):
        web1.add(said)
        web2.add(b"busy\n")
    web1.end()
    web2.end()
    lines = (tmp_path / "logs/hooks.log").read_text().splitlines()
    assert [line for line in lines if line.startswith("web1")] == ["web1: migrating", "web1: ", "web1: third line"]
    assert lines.count("web2: busy") == 3


def test_of_output_without_an_end_the_beginning_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixed_log, "MAX_LOG_BYTES", 10)
    log = PrefixedLog(tmp_path / "log", "a: ")
    for _ in range(5):
        log.add(b"1234\n")
    log.end()
    assert (tmp_path / "log").read_bytes() == b"a: 1234\na: 1234\na: " + BEYOND + b"\n"


def test_a_line_that_does_not_end_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixed_log, "MAX_LINE_BYTES", 8)
    log = PrefixedLog(tmp_path / "log", "")
    log.add(b"1234")
    assert not (tmp_path / "log").exists()
    log.add(b"567890")
    assert (tmp_path / "log").read_bytes() == b"1234567890\n"
