"""Where control groups can be made: asked of made-up trees, for what this machine does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from longshore.drivers.cgroups import Hierarchy, _find, _Mount, _settings


def tree(top: Path, *groups: str, controllers: str = "cpu memory pids") -> Path:
    """A version 2 tree with these groups; the top is the real root (it has no cgroup.type)."""
    for group in ("", *groups):
        directory = top / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.controllers").write_text(controllers)
        (directory / "cgroup.subtree_control").write_text("")
        if group:
            (directory / "cgroup.type").write_text("domain")
    return top


def find(top: Path, own: str, root: str = "/") -> Hierarchy | str:
    return _find("memory", [_Mount(2, "", top, Path(root))], {"": Path(own)})


def test_the_real_root_hands_out_controllers(tmp_path: Path) -> None:
    assert find(tree(tmp_path), "/") == Hierarchy(2, "memory", tmp_path)


def test_a_container_with_the_manager_in_a_group_of_its_own_can_be_used(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "manager")
    (top / "cgroup.type").write_text("domain")
    assert find(top, "/manager") == Hierarchy(2, "memory", top)


def test_the_top_of_a_container_that_holds_the_manager_itself_cannot(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    (top / "cgroup.type").write_text("domain")
    assert "start the manager in a group below it" in str(find(top, "/"))


def test_a_group_that_was_not_delegated_is_left_alone(tmp_path: Path) -> None:
    found = find(tree(tmp_path, "system.slice", "system.slice/longshore.service"), "/system.slice/longshore.service")
    assert "set Delegate=yes and DelegateSubgroup=manager in its unit" in str(found)


def test_a_mount_of_a_part_of_the_tree_is_understood(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "manager")
    (top / "cgroup.type").write_text("domain")
    assert find(top, "/docker/1/manager", root="/docker/1") == Hierarchy(2, "memory", top)


def test_version_1_is_taken_where_version_2_does_not_offer_the_controller(tmp_path: Path) -> None:
    two, one = tree(tmp_path / "unified", controllers=""), tmp_path / "memory"
    one.mkdir()
    mounts = [_Mount(2, "", two, Path("/")), _Mount(1, "memory", one, Path("/"))]
    assert _find("memory", mounts, {"": Path("/"), "memory": Path("/")}) == Hierarchy(1, "memory", one)


def test_a_machine_without_any_says_so(tmp_path: Path) -> None:
    assert _find("memory", [], {}) == "this machine has no control groups for it"


@pytest.mark.parametrize(
    ("version", "controller", "limit", "settings"),
    [
        (2, "memory", 1048576, {"memory.max": "1048576"}),
        (1, "memory", 1048576, {"memory.limit_in_bytes": "1048576"}),
        (2, "cpu", 1.5, {"cpu.max": "150000 100000"}),
        (1, "cpu", 0.001, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "1000"}),
        (2, "pids", 7, {"pids.max": "7"}),
        (1, "pids", 7, {"pids.max": "7"}),
    ],
)
def test_limits_become_the_files_of_the_kernel(
    version: int, controller: str, limit: float, settings: dict[str, str]
) -> None:
    assert _settings(Hierarchy(version, controller, Path("/")), limit) == settings
