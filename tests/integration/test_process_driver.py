"""The driver `process` with real processes that do what applications do to a deployment manager."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from longshore.connections import connections_to
from longshore.drivers.base import DriverError, Exit, Handle, Launch
from longshore.drivers.identity import read_stat
from longshore.drivers.process import ProcessDriver
from longshore.model import Resources
from support.backends import Backend
from support.launching import WAITER, launch_of, running, until
from support.output import written


@dataclass
class Host:
    """A driver, and a record of what it started, so that nothing outlives a test."""

    driver: ProcessDriver
    manager_id: str
    handles: list[Handle] = field(default_factory=list)

    async def start(self, launch: Launch) -> Handle:
        return await self.driver.start(launch, self.handles.append)

    def another_manager(self) -> ProcessDriver:
        return ProcessDriver(self.manager_id)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    manager_id = f"test-{uuid.uuid4().hex}"
    found = Host(ProcessDriver(manager_id), manager_id)
    yield found
    for handle in [*found.handles, *(await found.driver.survey()).values()]:
        await found.driver.stop(handle, 0)
    found.driver.close()


def script(directory: Path, text: str) -> tuple[str, ...]:
    """A Python program of the test, as an argv."""
    path = directory / f"{uuid.uuid4().hex}.py"
    path.write_text(text)
    return (sys.executable, "-S", str(path))


def descriptors(pid: int) -> dict[str, str]:
    return {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


async def said(launch: Launch, count: int = 1) -> list[str]:
    """The first lines an instance wrote."""
    await until(lambda: launch.log.read_text().count("\n") >= count, f"{count} lines of {launch.log}")
    return launch.log.read_text().splitlines()


# --- starting


async def test_an_instance_leads_a_session_of_its_own(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    assert os.getsid(handle["pid"]) == os.getpgid(handle["pid"]) == handle["pid"] == handle["pgid"]


async def test_an_instance_has_the_launch_environment_and_the_mark_only(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, ("/usr/bin/env",), environment={"A": "ä b"})
    await host.driver.exited(await host.start(launch))
    assert sorted(await said(launch, 2)) == ["A=ä b", f"LONGSHORE_LAUNCH={host.manager_id}/{launch.launch_id}"]


async def test_an_instance_gets_no_descriptor_of_the_manager(host: Host, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        launch = launch_of(tmp_path)
        handle = await host.start(launch)
        await said(launch)  # while Python starts it opens files of its own
        log = str(tmp_path / "app.log")
        assert descriptors(handle["pid"]) == {"0": "/dev/null", "1": log, "2": log}
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_handle_survives_json(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    again = json.loads(json.dumps(dict(handle)))
    assert (await host.driver.inspect(again)).state == "running"


async def test_an_instance_is_ended_when_it_cannot_be_persisted(host: Host, tmp_path: Path) -> None:
    seen: list[Handle] = []

    def full_disk(handle: Handle) -> None:
        seen.append(handle)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await host.driver.start(launch_of(tmp_path), full_disk)
    assert not running(seen[0]["pid"])


@pytest.mark.parametrize("files", [None, 64], ids=["direct", "helped"])
async def test_a_manager_out_of_descriptors_says_so_and_leaves_nothing_running(
    host: Host, tmp_path: Path, files: int | None
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await host.driver.survey()  # what the first use of a thread opens is open now
    failures = []
    for spare in range(12):
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        fillers = [os.dup(0) for _ in range(highest)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1 + spare, hard))
            try:
                handle = await host.start(launch_of(tmp_path, resources=Resources(files=files)))
            except DriverError as error:
                failures.append(str(error))
            else:
                await host.driver.stop(handle, 5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        assert await host.driver.survey() == {}
    assert failures
    assert all("Too many open files" in failure for failure in failures)


async def test_the_output_is_appended(host: Host, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("before\n")
    launch = launch_of(tmp_path, "echo out; echo err >&2")
    await host.driver.exited(await host.start(launch))
    assert await written(host.driver, launch.log, 10) == ["before", "out", "err"]


@pytest.mark.parametrize("files", [None, 64], ids=["direct", "helped"])
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("./x",), "no such program ./x in "),
        (("nope-nope",), "no such program nope-nope in PATH"),
        (("./plain",), "is not executable"),
        (("./empty",), "neither a program of this machine nor a script"),
        (("./lost",), "the interpreter its first line names is missing"),
    ],
)
async def test_a_program_that_cannot_be_executed_is_named_with_the_reason(
    host: Host, tmp_path: Path, command: tuple[str, ...], reason: str, files: int | None
) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "empty").write_text("")
    (tmp_path / "empty").chmod(0o755)
    (tmp_path / "lost").write_text("#!/no/such/interpreter\n")
    (tmp_path / "lost").chmod(0o755)
    launch = launch_of(tmp_path, command, resources=Resources(files=files))
    with pytest.raises(DriverError, match=reason):
        await host.start(launch)
    assert host.handles == []


async def test_a_missing_directory_is_named(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"the directory .*gone to run in does not exist"):
        await host.start(launch_of(tmp_path / "gone", log=tmp_path / "app.log"))


async def test_an_unknown_user_is_named(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="there is no user 'nobody-at-all'"):
        await host.start(launch_of(tmp_path, user="nobody-at-all"))


# --- ending


async def test_the_exit_code_of_an_own_child_is_known(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path, "exit 7"))
    assert await host.driver.exited(handle) == Exit(7)
    assert (await host.driver.inspect(handle)).exit == Exit(7)


async def test_an_instance_that_ended_leaves_no_zombie(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path, "exit 0"))
    await host.driver.exited(handle)
    assert read_stat(handle["pid"]) is None


async def test_nothing_is_kept_of_instances_that_were_stopped(host: Host, tmp_path: Path) -> None:
    for _ in range(3):
        handle = await host.start(launch_of(tmp_path, WAITER))
        stopped = await host.driver.stop(handle, 5)
        assert stopped.exit.code is not None
        assert (await host.driver.inspect(handle)).state == "exited"
    assert not host.driver._exits._ended
    assert not host.driver._exits._watches


async def test_many_may_wait_for_one_exit_and_one_may_give_up(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    first, second = (asyncio.create_task(host.driver.exited(handle)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    os.kill(handle["pid"], signal.SIGKILL)
    assert await second == Exit(-9)


async def test_sigterm_is_enough_for_a_polite_instance(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    stopped = await host.driver.stop(handle, 10)
    assert (stopped.exit, stopped.killed) == (Exit(-15), False)


async def test_an_instance_that_ignores_sigterm_is_killed_after_the_grace(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "trap '' TERM; echo up; while :; do sleep 1; done")
    handle = await host.start(launch)
    await said(launch)
    stopped = await host.driver.stop(handle, 0.2)
    assert (stopped.exit, stopped.killed) == (Exit(-9), True)


async def test_what_an_instance_runs_in_answer_to_sigterm_is_left_to_finish(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "trap 'sleep 0.3 && echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    handle = await host.start(launch)
    await said(launch)
    stopped = await host.driver.stop(handle, 10)
    assert (stopped.exit, await written(host.driver, launch.log, 1)) == (Exit(0), ["bye"])


FAMILY = """
import os, signal, sys, time
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("daemon", os.getpid(), flush=True)
            while True: time.sleep(60)
        os._exit(0)
def child():
    if os.fork() == 0:
        print("child", os.getpid(), flush=True)
        while True: time.sleep(60)
daemon(); child()
print("leader", os.getpid(), flush=True)
while True: time.sleep(60)
"""


async def test_stop_ends_children_and_daemons_too(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, script(tmp_path, FAMILY))
    handle = await host.start(launch)
    pids = [int(line.split()[1]) for line in await said(launch, 3)]
    stopped = await host.driver.stop(handle, 0.3)
    assert [pid for pid in pids if running(pid)] == []
    assert stopped.killed


async def test_stop_ends_what_a_dead_leader_left_behind(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, script(tmp_path, FAMILY))
    handle = await host.start(launch)
    pids = [int(line.split()[1]) for line in await said(launch, 3)]
    os.kill(handle["pid"], signal.SIGKILL)
    await host.driver.exited(handle)
    await host.driver.stop(handle, 0.3)
    assert [pid for pid in pids if running(pid)] == []


async def test_a_member_without_the_mark_is_ended_by_its_session(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "env -i /bin/sleep 600 & echo $!; wait")
    handle = await host.start(launch)
    pid = int((await said(launch))[0])
    await host.driver.stop(handle, 5)
    assert not running(pid)


async def test_a_member_whose_environment_is_blank_is_ended_after_its_leader_died(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "env -i /bin/sleep 600 & echo $!; wait")
    handle = await host.start(launch)
    pid = int((await said(launch))[0])
    os.kill(handle["pid"], signal.SIGKILL)
    await host.driver.exited(handle)
    await host.driver.stop(handle, 5)
    assert not running(pid)


async def test_many_instances_at_once_leave_nothing_behind(host: Host, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    handles = await asyncio.gather(*(host.start(launch_of(tmp_path)) for _ in range(30)))
    for handle in handles[::3]:
        os.kill(handle["pid"], signal.SIGKILL)
    await asyncio.gather(*(host.driver.stop(handle, 10) for handle in handles))
    assert [handle["pid"] for handle in handles if read_stat(handle["pid"])] == []
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_start_that_is_cancelled_leaves_nothing_running(host: Host, tmp_path: Path) -> None:
    task = asyncio.create_task(host.start(launch_of(tmp_path, resources=Resources(files=99))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (host.handles, await host.driver.survey()) == ([], {})


async def test_a_pid_that_was_given_to_somebody_else_is_never_signalled(host: Host, tmp_path: Path) -> None:
    stranger = await host.start(launch_of(tmp_path))
    ours = dict(stranger) | {"start_time": stranger["start_time"] - 1, "launch_id": "another"}
    assert (await host.driver.inspect(ours)).state == "exited"
    assert await host.driver.exited(ours) == Exit(None)
    assert (await host.driver.stop(ours, 0)).killed is False
    assert (await host.driver.inspect(stranger)).state == "running"


async def test_nothing_of_another_boot_is_touched(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    before = dict(handle) | {"boot_id": "00000000-0000-0000-0000-000000000000"}
    assert (await host.driver.inspect(before)).state == "exited"
    await host.driver.stop(before, 0)
    assert (await host.driver.inspect(handle)).state == "running"


async def test_stopping_twice_at_once_is_stopping_once(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    results = await asyncio.gather(*(host.driver.stop(handle, 5) for _ in range(3)))
    assert {result.killed for result in results} == {False}
    assert not running(handle["pid"])


async def test_a_flood_of_output_neither_blocks_the_instance_nor_the_manager(host: Host, tmp_path: Path) -> None:
    launch = launch_of(tmp_path, "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo done")
    assert await host.driver.exited(await host.start(launch)) == Exit(0)
    assert await written(host.driver, launch.log, 1) == ["done"]


# --- outliving the manager

MANAGER = """
import asyncio, json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
from longshore.drivers.identity import read_stat
from longshore.drivers.process import ProcessDriver
from longshore.model import Resources
from support.launching import launch_of
async def main():
    directory = Path(sys.argv[3])
    def persist(handle):
        (directory / "handle.json").write_text(json.dumps(handle))
    driver = ProcessDriver(sys.argv[2])
    await driver.start(launch_of(directory), persist)
    await driver.start(launch_of(directory, instance="shop-1-1", launch_id="unrecorded"), lambda handle: None)
    print("started", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def manager(host: Host, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A manager in a process of its own, with two instances, one of which nobody recorded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MANAGER, json.dumps(sys.path), host.manager_id, str(directory),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"started\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_instances_outlive_kill_9_of_the_manager_and_are_adopted(host: Host, tmp_path: Path) -> None:
    async with manager(host, tmp_path) as process:
        process.kill()
        await process.wait()
    handle: dict[str, Any] = json.loads((tmp_path / "handle.json").read_text())
    assert (await host.driver.inspect(handle)).state == "running"
    ended = asyncio.create_task(host.driver.exited(handle))
    stopped = await host.driver.stop(handle, 10)
    assert (stopped.killed, await ended) == (False, Exit(None))
    assert not running(handle["pid"])


async def test_an_instance_nobody_recorded_is_surveyed_and_can_be_stopped(host: Host, tmp_path: Path) -> None:
    async with manager(host, tmp_path) as process:
        process.kill()
        await process.wait()
    handle: dict[str, Any] = json.loads((tmp_path / "handle.json").read_text())
    found = await host.another_manager().survey()
    assert found.keys() == {handle["launch_id"], "unrecorded"}
    assert found[handle["launch_id"]] == handle
    await host.driver.stop(found["unrecorded"], 10)
    assert not running(found["unrecorded"]["pid"])


async def test_a_survey_tells_managers_apart(host: Host, tmp_path: Path) -> None:
    await host.start(launch_of(tmp_path))
    assert await ProcessDriver(f"{host.manager_id}-2").survey() == {}


# --- looking


async def test_ports_are_those_of_any_process_of_the_instance(host: Host, tmp_path: Path) -> None:
    program = """
import os, socket, time
a = socket.create_server(("127.0.0.1", 0)); print(a.getsockname()[1], flush=True)
if os.fork() == 0:
    a.close(); b = socket.create_server(("::1", 0), family=socket.AF_INET6); print(b.getsockname()[1], flush=True)
time.sleep(600)
"""
    launch = launch_of(tmp_path, script(tmp_path, program))
    handle = await host.start(launch)
    assert await host.driver.ports(handle) <= {int(line) for line in await said(launch, 2)}
    assert await host.driver.ports(handle) == {int(line) for line in await said(launch, 2)}


async def test_inspect_says_pid_time_and_memory(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    found = await host.driver.inspect(handle)
    assert found.message.startswith(f"pid {handle['pid']}, up 0 s, ")


async def test_a_start_can_be_done_in_fifteen_milliseconds(host: Host, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    times = []
    for number in range(20):
        begun = loop.time()
        await host.start(launch_of(tmp_path, WAITER, log=tmp_path / f"{number}.log"))
        times.append(loop.time() - begun)
    assert min(times) < 0.015  # the least: the others tell how busy the machine is


async def test_connections_are_those_that_others_have_to_its_port(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    async with Backend("v1") as backend:
        assert await host.driver.connections(handle, backend.port) == 0
        _, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        assert await host.another_manager().connections(handle, backend.port) == 1
        writer.close()
        await writer.wait_closed()
        await until(lambda: connections_to(backend.port) == 0, "nobody is connected any more")
        assert await host.driver.connections(handle, backend.port) == 0


async def test_what_an_instance_of_another_boot_is_connected_to_is_not_known(host: Host, tmp_path: Path) -> None:
    handle = await host.start(launch_of(tmp_path))
    assert await host.driver.connections({**handle, "boot_id": "another"}, 1) is None
