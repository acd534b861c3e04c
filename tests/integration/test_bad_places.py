"""Ports that are taken, directories that cannot be used, archives that attack: refused, and nothing is left."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, error_of, hostile_manager, listening, until


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


# --- ports


def test_a_port_of_a_foreign_program_is_refused_at_validation(manager: Hostile) -> None:
    with listening() as port:
        for path in ("", "/validate", "/plan"):
            answer = manager.http.post(f"{ROOT}{path}", json=manager.spec("taken", "1", port=port))
            assert answer.status_code == 400
            assert f"port {port} is in use by another program" in answer.text
    assert manager.http.get(f"{ROOT}/taken").status_code == 404


def test_a_port_taken_between_validation_and_listening_fails_the_rollout_and_is_named(manager: Hostile) -> None:
    port = free_port()
    go = manager.directory / "go"
    id = manager.begin("race", "1", port=port, pre_deploy_hooks=[f"while [ ! -e {go} ]; do sleep 0.02; done"])
    with listening(port):
        go.touch()
        rollout = manager.over("race", id)
    assert rollout["status"] == "unwound"
    assert f"port {port}" in rollout["error"]["message"] or str(port) in rollout["error"]["message"]
    assert rollout["error"]["details"]["operation"] == "shift_traffic"
    manager.deployed("race", "1", port=port)
    assert ask(port) == "200 1"


def test_a_port_of_a_release_that_runs_nothing_is_warned_of(manager: Hostile) -> None:
    spec = manager.spec("idle", "1", artifact_path=manager.site("1"), command=None, port=free_port())
    warned = {warning["field"] for warning in manager.http.post(f"{ROOT}/validate", json=spec).json()["warnings"]}
    assert {"command", "port"} <= warned


def test_two_deployments_cannot_have_one_public_port(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("first", "1", port=port)
    error = manager.refused("second", "1", 400, "INVALID_DEPLOYMENT_SPEC", port=port)
    assert "is the public port of first" in error["message"] + str(error["details"])
    url = f"http://localhost:{port}/health"
    manager.refused("second", "1", 400, "INVALID_DEPLOYMENT_SPEC", health_check_url=url)


def test_the_public_port_moves_with_a_redeploy_in_each_strategy(manager: Hostile) -> None:
    old = free_port()
    manager.deployed("moves", "0", port=old)
    for number, strategy in enumerate(("recreate", "rolling", "blue-green", "canary"), start=1):
        new = free_port()
        manager.deployed("moves", str(number), port=new, strategy=strategy, canary=AT_ONCE)
        assert ask(new) == f"200 {number}", strategy
        until(f"{old} being free", lambda port=old: closed(port))
        assert manager.status("moves")["port"] == new
        old = new
    with listening() as foreign:
        manager.refused("moves", "9", 400, "INVALID_DEPLOYMENT_SPEC", port=foreign)
    assert ask(old) == "200 4"


AT_ONCE = {"steps": [{"weight": 50, "pause": "0s"}, {"weight": 100, "pause": "0s"}]}


def closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- directories


def test_a_working_directory_of_another_deployment_or_in_it_or_around_it_is_refused(manager: Hostile) -> None:
    place = manager.directory / "place/inner"
    plain: dict[str, Any] = {"artifact_path": manager.site("1"), "command": None}
    manager.deployed("holder", "1", **plain, working_directory=str(place))
    for other in (place, place / "deeper", place.parent, f"{place}/", f"{place}/../inner"):
        error = manager.refused("guest", "1", 400, "INVALID_DEPLOYMENT_SPEC", **plain, working_directory=str(other))
        assert "working_directory" in str(error["details"]), other
    link = manager.directory / "link"
    link.symlink_to(place)
    for other in (link, link / "deeper"):
        manager.refused("guest", "1", 400, "INVALID_DEPLOYMENT_SPEC", **plain, working_directory=str(other))
    for bad in ("relative/path", "/", "/proc/longshore", "/dev/null/x", str(manager.data_dir)):
        manager.refused("guest", "1", 400, "INVALID_DEPLOYMENT_SPEC", **plain, working_directory=bad)
    assert manager.http.get(f"{ROOT}/guest").status_code == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_full_disk_refuses_the_deploy_before_anything_is_written(manager: Hostile) -> None:
    place = manager.directory / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=40", "tmpfs", str(place)], check=True)
    try:
        big = manager.directory / "artifacts/big"
        big.mkdir(parents=True)
        (big / "data").write_bytes(b"x" * 400_000)
        plain: dict[str, Any] = {"artifact_path": str(big), "command": None, "working_directory": str(place)}
        error = manager.refused("full", "1", 400, "INVALID_DEPLOYMENT_SPEC", **plain)
        assert "free" in str(error["details"])
        assert not list(place.iterdir())
        # Bytes enough, but not inodes: what fits when it is asked for and does not when it is written
        (big / "data").unlink()
        for number in range(60):
            (big / f"file{number}").write_text("x")
        error = manager.refused("full", "1", 500, "DEPLOYMENT_FAILED", **plain)
        assert "full" in error["message"]
        assert error["details"]["operation"] == "fetch_artifact"
        assert error["details"]["rolled_back"] is True
        assert not list((place / "releases").glob("*"))
        for number in range(55):
            (big / f"file{number}").unlink()
        manager.deployed("full", "1", **plain)
        (big / "data").write_bytes(b"y" * 350_000)
        error = manager.refused("full", "2", 400, "INVALID_DEPLOYMENT_SPEC", **plain)
        assert manager.status("full")["state"] == "healthy"
        manager.take_down("full")
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_read_only_working_directory_is_refused_and_one_that_becomes_so_fails_and_is_undone(
    manager: Hostile,
) -> None:
    place = manager.directory / "readonly"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", str(place)], check=True)
    try:
        plain: dict[str, Any] = {"artifact_path": manager.site("1"), "command": None, "working_directory": str(place)}
        error = manager.refused("ro", "1", 400, "INVALID_DEPLOYMENT_SPEC", **plain)
        assert "read-only" in str(error).lower() or "not writable" in str(error)
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        manager.deployed("ro", "1", **plain)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        answer = manager.deploy("ro", "2", **{**plain, "artifact_path": manager.site("2")})
        assert answer.status_code in (400, 500), answer.text
        assert "read-only" in answer.text.lower() or "not writable" in answer.text
        assert manager.status("ro")["version"] == "1"
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        manager.deployed("ro", "2", **{**plain, "artifact_path": manager.site("2")})
        manager.take_down("ro")
    finally:
        subprocess.run(["umount", str(place)], check=True)


# --- hostile archives


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    return info


def test_hostile_archives_are_refused_and_nothing_is_left_on_disk_or_in_the_store(manager: Hostile) -> None:
    here = manager.directory / "evil"
    here.mkdir()
    victim = manager.directory / "victim"
    bad = {
        "absolute": tar(here / "a.tar.gz", (member(str(victim)), b"owned")),
        "dotdot": tar(here / "b.tar.gz", (member("../../../../../../.." + str(victim)), b"owned")),
        "link out": tar(here / "c.tar.gz", (member("out", tarfile.SYMTYPE, str(manager.directory)), b"")),
        "through a link": tar(
            here / "d.tar.gz",
            (member("out", tarfile.SYMTYPE, "../.."), b""),
            (member("out/victim"), b"owned"),
        ),
        "hard link out": tar(here / "e.tar.gz", (member("hard", tarfile.LNKTYPE, "/etc/passwd"), b"")),
        "device": tar(here / "f.tar.gz", (member("null", tarfile.CHRTYPE), b"")),
        "fifo": tar(here / "g.tar.gz", (member("pipe", tarfile.FIFOTYPE), b"")),
    }
    with zipfile.ZipFile(here / "h.zip", "w") as archive:
        archive.writestr("../../victim", "owned")
    bad["zip dotdot"] = here / "h.zip"
    with zipfile.ZipFile(here / "i.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 200_000_000)
    bad["zip bomb"] = here / "i.zip"
    cut = tar(here / "j.tar.gz", (member("file"), b"x" * 100_000)).read_bytes()
    (here / "j.tar.gz").write_bytes(cut[: len(cut) // 2])
    bad["cut short"] = here / "j.tar.gz"
    (here / "k.zip").write_bytes(b"PK\x03\x04 this is no zip")
    bad["no zip"] = here / "k.zip"
    for what, path in bad.items():
        error = manager.refused("evil", "1", 400, "INVALID_DEPLOYMENT_SPEC", artifact_path=str(path), command=None)
        assert "artifact_path" in str(error["details"]), what
    assert not victim.exists()
    assert manager.http.get(f"{ROOT}/evil").status_code == 404
    assert not (manager.data_dir / "apps/evil").exists()


def test_artifacts_that_are_no_artifacts_are_named(manager: Hostile) -> None:
    empty = manager.directory / "empty"
    empty.mkdir()
    fifo = manager.directory / "fifo"
    os.mkfifo(fifo)
    for path, code in (
        ("/nonexistent/x", "ARTIFACT_NOT_FOUND"),
        (str(fifo), "INVALID_DEPLOYMENT_SPEC"),
        ("/dev/zero", "INVALID_DEPLOYMENT_SPEC"),
        ("relative.tar", "INVALID_DEPLOYMENT_SPEC"),
        ("/proc/self/mem", None),
    ):
        answer = manager.deploy("noart", "1", artifact_path=path, command=None)
        assert answer.status_code == 400, (path, answer.text)
        assert code is None or answer.json()["error"]["code"] == code, answer.text
    assert manager.http.get(f"{ROOT}/noart").status_code == 404


def test_every_kind_of_artifact_is_deployed_and_runs(manager: Hostile) -> None:
    source = Path(manager.app("kinds"))
    here = manager.directory / "kinds"
    here.mkdir()
    made: dict[str, Path] = {"dir": source}
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz"), ("tar.bz2", "w:bz2")):
        made[suffix] = here / f"app.{suffix}"
        with tarfile.open(made[suffix], mode) as archive:
            archive.add(source / "app.py", "app.py")
    made["zip"] = here / "app.zip"
    with zipfile.ZipFile(made["zip"], "w") as archive:
        archive.write(source / "app.py", "app.py")
    made["file"] = source / "app.py"
    port = free_port()
    for number, (what, path) in enumerate(made.items()):
        manager.deployed("kinds", f"1.{number}", artifact_path=str(path), port=port, stop_timeout="2s")
        assert ask(port) == f"200 1.{number}", what


# --- shared paths, takeover


def test_shared_paths_outlive_releases_and_rollbacks(manager: Hostile) -> None:
    place = manager.directory / "shared-app"
    first = {"command": None, "working_directory": str(place), "shared_paths": ["data", "config/local.ini"]}
    manager.deployed("shared", "1", artifact_path=manager.site("s1"), **first)
    (place / "current/data").mkdir(exist_ok=True)
    (place / "shared/data/rows").write_text("kept")
    manager.deployed("shared", "2", artifact_path=manager.site("s2"), **{**first, "shared_paths": None})
    assert (place / "current/data/rows").read_text() == "kept"
    back = manager.rollback("shared")
    assert back.status_code == 200, back.text
    assert (place / "current/data/rows").read_text() == "kept"
    manager.refused(
        "shared", "3", 400, "INVALID_DEPLOYMENT_SPEC", artifact_path=manager.site("s3"), command=None,
        shared_paths=["../outside"],
    )  # fmt: skip
    manager.take_down("shared")
    assert (place / "shared/data/rows").read_text() == "kept"


def test_a_foreign_directory_is_taken_over_and_can_be_gone_back_to(manager: Hostile) -> None:
    place = manager.directory / "foreign"
    (place / "sub").mkdir(parents=True)
    (place / "index.html").write_text("old")
    (place / "sub/page").write_text("page")
    plain: dict[str, Any] = {"command": None, "working_directory": str(place)}
    manager.deployed("foreign", "1", artifact_path=manager.site("f1"), **plain)
    assert (place / "current/index.html").read_text() == "f1"
    back = manager.rollback("foreign")
    assert back.status_code == 200, back.text
    assert back.json()["version"] == "pre-longshore"
    assert (place / "current/index.html").read_text() == "old"
    assert (place / "current/sub/page").read_text() == "page"
    assert manager.status("foreign")["version"] == "pre-longshore"
    manager.deployed("foreign", "2", artifact_path=manager.site("f2"), **plain)
    error_of(manager.rollback("foreign", "nope"), 400, "BACKUP_NOT_FOUND")
    assert manager.rollback("foreign", "pre-longshore").status_code == 200
    manager.take_down("foreign")
    assert (place / "index.html").read_text() == "old"


def test_a_first_deploy_that_was_undone_leaves_nothing_behind_when_it_is_deleted(manager: Hostile) -> None:
    for times in range(2):
        manager.refused("undone", str(times), 500, "HOOK_FAILED", pre_deploy_hooks=["exit 1"])
    assert (manager.data_dir / "apps/undone").is_dir()
    assert manager.http.delete(f"{ROOT}/undone").status_code == 200
    assert not (manager.data_dir / "apps/undone").exists()


def test_a_first_deploy_that_was_undone_leaves_what_was_in_its_place_as_it_was(manager: Hostile) -> None:
    place = manager.directory / "in-use"
    place.mkdir()
    (place / "index.html").write_text("in use")
    manager.refused("guest", "1", 500, "HOOK_FAILED", working_directory=str(place), pre_deploy_hooks=["exit 1"])
    assert [path.name for path in place.iterdir()] == ["index.html"]


def test_a_release_deleted_behind_our_back_is_restored_by_deploying_it_again_or_left_by_a_rollback(
    manager: Hostile,
) -> None:
    port = free_port()
    releases = manager.data_dir / "apps/deleted/releases"
    for version in ("1", "2"):
        manager.deployed("deleted", version, port=port)
    shutil.rmtree(releases / "2")
    assert "is missing" in manager.health("deleted")["components"]["deployment_files"]["message"]
    error = manager.refused("deleted", "3", 500, "DEPLOYMENT_FAILED", port=port)
    assert "Deploy 2 again from its artifact" in error["message"]
    assert ask(port) == "200 2"
    result = manager.deployed("deleted", "2", port=port)
    assert "had been deleted" in str(result["steps"])
    assert (releases / "2/app.py").exists()
    assert manager.health("deleted")["overall"] == "healthy"

    shutil.rmtree(releases / "1")
    error = error_of(manager.rollback("deleted"), 500, "ROLLBACK_FAILED")
    assert "no longer on the disk" in error["message"]
    assert ask(port) == "200 2"
    manager.deployed("deleted", "1", port=port)
    shutil.rmtree(releases / "1")
    answer = manager.rollback("deleted", "2")
    assert answer.status_code == 200, answer.text
    assert ask(port) == "200 2"
    manager.take_down("deleted")
