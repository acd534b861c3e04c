"""Limits and users of real instances, where this machine lets us set them."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longshore.drivers.base import DriverError, Exit, Handle
from longshore.drivers.process import ProcessDriver
from longshore.model import Resources
from support.launching import WAITER, launch_of, running, until
from support.output import written

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run an instance as another user")


@pytest.fixture
async def driver() -> AsyncIterator[ProcessDriver]:
    found = ProcessDriver(f"test-{uuid.uuid4().hex}")
    yield found
    for handle in (await found.survey()).values():
        await found.stop(handle, 0)
    found.close()


@pytest.fixture
async def limited(driver: ProcessDriver) -> ProcessDriver:
    """A driver on a machine that enforces limits."""
    if "limits" not in driver.capabilities():
        details = (await driver.fingerprint()).details
        pytest.skip("no writable cgroups here: " + "; ".join(f"{k}: {v}" for k, v in details.items()))
    return driver


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter: those of the test run are closed to all but its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def ignore(handle: Handle) -> None:
    """These tests find their instances by survey."""


async def test_an_instance_over_its_memory_limit_is_killed(limited: ProcessDriver, tmp_path: Path) -> None:
    eater = (sys.executable, "-S", "-c", "x = []\nwhile True: x.append(bytearray(1 << 20))")
    handle = await limited.start(launch_of(tmp_path, eater, resources=Resources(memory=48 << 20)), ignore)
    assert await limited.exited(handle) == Exit(-9)
    assert "it went over its memory limit" in (await limited.inspect(handle)).message
    await limited.stop(handle, 0)


async def test_an_instance_that_keeps_crashing_leaves_no_trail_of_groups(
    limited: ProcessDriver, tmp_path: Path
) -> None:
    for _ in range(3):
        handle = await limited.start(launch_of(tmp_path, "exit 1", resources=Resources(tasks=9)), ignore)
        await limited.exited(handle)
    group = Path(handle["cgroups"][0])
    assert [entry for entry in group.parent.iterdir() if entry.is_dir()] == [group]
    await limited.stop(handle, 0)


async def test_an_instance_cannot_have_more_tasks_than_allowed(limited: ProcessDriver, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "for i in 1 2 3 4 5 6; do sleep 60 & done; wait", resources=Resources(tasks=4))
    handle = await limited.start(launch, ignore)
    await until(lambda: "fork" in launch.log.read_text().lower(), "a refused fork")
    await limited.stop(handle, 0)


async def test_the_processor_limit_is_set(limited: ProcessDriver, tmp_path: Path) -> None:
    handle = await limited.start(launch_of(tmp_path, resources=Resources(cpu=0.5)), ignore)
    (group,) = handle["cgroups"]
    files = {"cpu.max": "50000 100000", "cpu.cfs_quota_us": "50000"}
    assert [(Path(group) / n).read_text().strip() == v for n, v in files.items() if (Path(group) / n).exists()] == [
        True
    ]


async def test_the_groups_are_gone_after_the_stop(limited: ProcessDriver, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, resources=Resources(memory=1 << 28, cpu=1, tasks=50))
    handle = await limited.start(launch, ignore)
    assert handle["cgroups"]
    await limited.stop(handle, 5)
    assert [group for group in handle["cgroups"] if Path(group).parent.exists()] == []


async def test_the_groups_are_gone_when_the_program_cannot_be_executed(limited: ProcessDriver, tmp_path: Path) -> None:
    before = await limited.start(launch_of(tmp_path, resources=Resources(tasks=9)), ignore)
    with pytest.raises(DriverError, match=r"no such program ./x"):
        await limited.start(launch_of(tmp_path, ("./x",), resources=Resources(tasks=9)), ignore)
    assert [entry for entry in Path(before["cgroups"][0]).parent.iterdir() if entry.is_dir()] == [
        Path(before["cgroups"][0])
    ]


async def test_a_survey_finds_the_groups_too(limited: ProcessDriver, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, resources=Resources(memory=1 << 28, tasks=50))
    handle = await limited.start(launch, ignore)
    found = (await limited.survey())[launch.launch_id]
    assert sorted(found["cgroups"]) == sorted(handle["cgroups"])


async def test_a_daemon_without_the_mark_is_ended_by_its_group(limited: ProcessDriver, tmp_path: Path) -> None:
    command = "env -i setsid /bin/sh -c 'echo $$; exec sleep 600' & sleep 600"
    launch = launch_of(tmp_path, command, resources=Resources(tasks=50))
    handle = await limited.start(launch, ignore)
    pid = int(await until(lambda: launch.log.read_text(), "the daemon's pid"))
    os.kill(handle["pid"], signal.SIGKILL)
    await limited.exited(handle)
    await limited.stop(handle, 0)
    assert not running(pid)


async def test_open_files_are_limited_from_the_first_instruction(driver: ProcessDriver, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "ulimit -n; ulimit -Hn", resources=Resources(files=77))
    await driver.exited(await driver.start(launch, ignore))
    assert await written(driver, launch.log, 9) == ["77", "77"]


async def test_a_helped_program_has_default_signals_and_no_descriptor_of_ours(
    driver: ProcessDriver, tmp_path: Path
) -> None:
    launch = launch_of(tmp_path, ("/bin/sh", "-c", "grep SigIgn /proc/self/status; ls /proc/self/fd"))
    plain = await driver.start(launch, ignore)
    await driver.exited(plain)
    helped = launch_of(tmp_path, launch.command, resources=Resources(files=77), log=tmp_path / "helped.log")
    await driver.exited(await driver.start(helped, ignore))
    assert await written(driver, helped.log, 9) == await written(driver, launch.log, 9)


async def test_a_limit_that_cannot_be_enforced_is_refused(driver: ProcessDriver, tmp_path: Path) -> None:
    driver._cgroups.available.clear()
    driver._cgroups.missing["memory"] = "none here"
    with pytest.raises(DriverError, match="a limit on memory cannot be enforced here: none here"):
        await driver.start(launch_of(tmp_path, resources=Resources(memory=1 << 28)), ignore)


async def test_the_fingerprint_says_what_is_enforced(driver: ProcessDriver) -> None:
    details = (await driver.fingerprint()).details
    assert {"memory", "cpu", "tasks", "files", "user"} == details.keys()


@needs_root
async def test_an_instance_runs_as_its_user(driver: ProcessDriver, open_directory: Path) -> None:
    user = pwd.getpwnam("nobody")
    launch = launch_of(open_directory, "id -u; id -g; id -G; echo $HOME $USER $LOGNAME", user="nobody")
    await driver.exited(await driver.start(launch, ignore))
    groups = " ".join(map(str, os.getgrouplist("nobody", user.pw_gid)))
    assert await written(driver, launch.log, 9) == [
        str(user.pw_uid),
        str(user.pw_gid),
        groups,
        f"{user.pw_dir} nobody nobody",
    ]


@needs_root
async def test_the_launch_decides_on_home(driver: ProcessDriver, open_directory: Path) -> None:
    launch = launch_of(open_directory, "echo $HOME", user="nobody", environment={"HOME": "/srv"})
    await driver.exited(await driver.start(launch, ignore))
    assert await written(driver, launch.log, 9) == ["/srv"]


@needs_root
async def test_an_instance_of_another_user_is_stopped_too(driver: ProcessDriver, open_directory: Path) -> None:
    handle = await driver.start(launch_of(open_directory, ("/bin/sleep", "600"), user="nobody"), ignore)
    assert not (await driver.stop(handle, 5)).killed
    assert not running(handle["pid"])


@needs_root
async def test_a_directory_closed_to_the_user_is_named(driver: ProcessDriver, open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DriverError, match=r"cannot enter the directory .*closed as user nobody"):
        await driver.start(launch_of(closed, WAITER, user="nobody"), ignore)
