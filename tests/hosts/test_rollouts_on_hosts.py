"""Rollouts on three real hosts: by each strategy under load, and with whatever can happen to hosts and connections."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from longshore.client import ApiError
from longshore.client.results import Rollout, Step
from longshore.demo.load import Load
from support.far_site import ENVIRONMENT, FarSite, open_far_site
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.kills import LIGHT
from support.manager import bounded, until

pytestmark = pytest.mark.slow

STRATEGIES = ("rolling", "blue-green", "canary", "recreate")
#: LIGHT, with requests that drains wait less for: for many rollouts in a row
BRISK: dict[str, Any] = {**LIGHT, "held_s": 0.2}
#: seconds until a host that is gone is known to be
LOST_S = 15.0
#: the polite application, which listens at once, and says that it is ready when a file of its version is there
ANNOUNCED = """
import os, pathlib, runpy, socket, threading, time
def announce():
    version = pathlib.Path("VERSION").read_text().strip()
    while not pathlib.Path("/srv/announce-" + version).exists():
        time.sleep(0.02)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
threading.Thread(target=announce, daemon=True).start()
runpy.run_path("polite.py", run_name="__main__")
"""
OWN_UNIT = """
[Service]
Type=notify
Environment=HOST=0.0.0.0 PORT=3000
WorkingDirectory=/srv/shop/current
ExecStart=/bin/sh -c 'RELEASE_VERSION=$$(cat VERSION) exec /usr/bin/python3 announced.py'
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("hosts"), 3) as hosts, hosts.inside():
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
async def site(tmp_path: Path, hosts: HostSet) -> AsyncIterator[FarSite]:
    async with open_far_site(tmp_path, hosts) as site:
        yield site


def lost(load: Load) -> list[str]:
    return [f"{loss.kind}: {loss.outcome}" for loss in load.ledger.losses()]


def only_in_flight(load: Load) -> None:
    """What one host had when it was lost may be lost where it may not be repeated; nothing else is."""
    losses = load.ledger.losses()
    assert {loss.kind for loss in losses} <= {"post", "websocket", "events"}, losses
    assert len(losses) <= LIGHT["connections"] + LIGHT["websockets"] + LIGHT["streams"], losses


def failed_step(rollout: Rollout) -> str:
    return next(step.name for step in rollout.steps if step.status == "failed")


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, bound_s: float) -> None:
    async def looking() -> None:
        while not await condition():  # noqa: ASYNC110 - nothing tells but asking
            await asyncio.sleep(0.01)

    await bounded(looking(), bound_s, what)


async def until_step(site: FarSite, rollout: Rollout | None, name: str) -> None:
    """That step of a rollout has begun."""
    assert rollout is not None

    async def begun() -> bool:
        seen = await site.client.rollout("shop", rollout.id)
        assert any(step.name == name for step in seen.steps) or not seen.is_over, f"it ended without {name}: {seen}"
        return any(step.name == name for step in seen.steps)

    await eventually(begun, f"{name} has begun", 120.0)


async def until_status(site: FarSite, health: str, bound_s: float = 120.0) -> None:
    async def so() -> bool:
        return (await site.client.get("shop")).health == health

    await eventually(so, f"it is {health}", bound_s)


async def test_no_request_is_lost_in_upgrades_rollbacks_and_failures_by_any_strategy(
    site: FarSite, hosts: HostSet
) -> None:
    await site.deploy("1.0", "recreate")
    await site.settled_on("1.0", *hosts)
    async with site.load(**LIGHT) as load:
        for number, strategy in enumerate(STRATEGIES, start=2):
            await site.deploy(f"{number}.0", strategy)
            await site.settled_on(f"{number}.0", *hosts)
            over = await site.failed(f"{number}.1", strategy, broken=True, health_check={"deadline": "2s"})
            assert over.status == "unwound", over
            await site.settled_on(f"{number}.0", *hosts)
            assert all(f"{number}.1" not in site.kept(host) for host in hosts)
        await site.client.rollback("shop")
        await site.settled_on("4.0", *hosts)
    assert lost(load) == []
    assert len(load.ledger) > 500


async def test_hosts_are_taken_in_batches_where_that_is_asked_for(site: FarSite, hosts: HostSet) -> None:
    # Room for four more: without batches the first four, on all of the hosts, would be started at once.
    rolling = {"serial": [1, "100%"], "max_surge": 4, "max_unavailable": 0}
    await site.deploy("1.0", "rolling", replicas=6)
    async with site.load(**LIGHT) as load:
        rollout = await site.deploy("2.0", "rolling", replicas=6, rolling=rolling)
    assert lost(load) == []
    steps = [step for step in rollout.steps if step.name in ("start_instances", "stop_instances")]
    assert [step.name for step in steps] == ["start_instances", "stop_instances"] * 2
    assert [started_on(hosts, step) for step in steps[::2]] == [
        ["host1", "host1"],
        ["host2", "host2", "host3", "host3"],
    ]
    assert [len(site.running(host)) for host in hosts] == [2, 2, 2]


def started_on(hosts: HostSet, step: Step) -> list[str]:
    """The host of each instance that runs and was started in that step, as systemd there has it."""
    assert step.start_time is not None
    assert step.end_time is not None
    booted = time.time() - time.monotonic()  # the hosts have this machine's clocks
    show = "systemctl show --property=ExecMainStartTimestampMonotonic --value --state=active 'shop@*'"
    return [
        host.name
        for host in hosts
        for told in host.shell(show).split()
        if step.start_time.timestamp() <= booted + int(told) / 1e6 <= step.end_time.timestamp()
    ]


async def test_hooks_run_once_or_on_each_host(site: FarSite, hosts: HostSet) -> None:
    mark = "echo $DEPLOYMENT_HOST $DEPLOYMENT_VERSION >> /var/tmp/hooks; pwd; cat VERSION"
    await site.deploy("1.0", "rolling", hooks_on="each", pre_deploy_hooks=[mark])
    for host in hosts:
        assert host.shell("cat /var/tmp/hooks; rm /var/tmp/hooks") == f"{host.name} 1.0\n"
    rollout = await site.deploy("2.0", "rolling", hooks_on="once", post_deploy_hooks=[mark])
    said = [host.shell("cat /var/tmp/hooks 2>/dev/null; rm -f /var/tmp/hooks") for host in hosts]
    assert sorted(said) == ["", "", "host1 2.0\n"]
    (step,) = (step for step in rollout.steps if step.name == "post_deploy_hooks")
    assert "/srv/shop/releases/2.0" in step.message
    over = await site.failed("3.0", "rolling", pre_deploy_hooks=["echo no good; exit 3"])
    assert (over.status, failed_step(over)) == ("unwound", "pre_deploy_hooks")
    assert "on host1" in (over.message or "")


@pytest.mark.parametrize("kind", ["managed", "existing"])
async def test_an_application_that_listens_gets_no_requests_before_it_has_said_that_it_is_ready(
    site: FarSite, hosts: HostSet, kind: str
) -> None:
    def announce(version: str) -> None:
        for host in hosts:
            host.shell(f"touch /srv/announce-{version}")

    fields: dict[str, Any] = {"systemd": {"type": "notify"}, "command": ["/usr/bin/python3", "announced.py"]}
    if kind == "existing":
        for host in hosts:
            host.path("/etc/systemd/system/mine.service").write_text(OWN_UNIT)
            host.ask("systemctl", "daemon-reload")
        fields = {"service_name": "mine", "systemd": {"unit": "existing", "port": 3000}, "command": None}
        fields["replicas"] = None

    def asked(version: str, **more: Any) -> dict[str, Any]:
        given = site.spec(version, "rolling", **fields, **more)
        (site.artifact(version) / "announced.py").write_text(ANNOUNCED)
        return {key: value for key, value in given.items() if value is not None}

    try:
        announce("1.0")
        await site.client.deploy(asked("1.0"), timeout=240)
        await site.client.deploy(asked("2.0", health_check={"deadline": "3s"}), wait=False)
        over = await site.until_over(150.0)
        assert (over.status, failed_step(over)) == ("unwound", "await_ready")
        assert "it has not said yet that it is ready" in (over.message or "")
        assert set(await site.answering()) == {"1.0"}
        announce("2.0")
        await site.client.deploy(asked("2.0"), timeout=240)
        assert set(await site.answering()) == {"2.0"}
    finally:
        await site.client.delete("shop")
        for host in hosts:
            host.shell("rm -rf /srv/announce-* /etc/systemd/system/mine.service; systemctl daemon-reload")


async def test_whatever_a_rollout_has_on_a_host_counts_as_left_over_there(site: FarSite, hosts: HostSet) -> None:
    began = await site.begin("1.0", "rolling", pre_deploy_hooks=["sleep 2"])
    await until_step(site, began, "pre_deploy_hooks")
    assert began is not None
    hook = f"{began.id}-pre_deploy-1"
    seen = await until(lambda: "sleep 2" in (seen := site.traces(hosts[0])) and seen, "the hook's process is found")
    for trace in (
        f"/run/longshore-{hook}",
        f"loaded active running Longshore: {hook}",
        f"/commands/{hook}/boot",
        "/srv/shop",
    ):
        assert trace in seen, seen
    await site.until_over()
    seen = site.traces(hosts[0])
    for trace in (
        "/system/shop@1-0.service.d",
        "environment/shop@1-0.service",
        "loaded active running shop",
        "polite.py",
    ):
        assert trace in seen, seen
    # As of a host that was lost in the middle of a hook, and never caught up with: the delete takes it away.
    hosts[1].shell(f"mkdir -p /var/lib/longshore-host/commands/{hook}; touch /run/longshore-{hook}")
    assert f"/commands/{hook}" in site.traces(hosts[1])


async def test_output_is_read_from_the_journals_of_all_hosts(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling", command="echo began on $HOST:$PORT; exec /usr/bin/python3 polite.py")
    lines = [line.line for line in (await site.client.logs("shop")).lines]
    assert sum(line.startswith("began on 0.0.0.0:") for line in lines) == 3


async def test_hosts_are_reached_by_ipv6_and_so_are_their_instances(hosts: HostSet, tmp_path: Path) -> None:
    (known,) = (line for line in hosts[0].known_hosts.read_text().splitlines() if hosts[0].address in line)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(known.replace(hosts[0].address, "fd77::11"))
    there = replace(hosts[0], address="fd77::11", known_hosts=known_hosts)
    try:
        hosts[0].shell("ip addr add fd77::11/64 dev eth0 nodad")
        subprocess.run(hosts.command("ip", "addr", "add", "fd77::1/64", "dev", "eth0", "nodad"), check=True)  # noqa: ASYNC221
        async with open_far_site(tmp_path, replace(hosts, all=(there,))) as site:
            await site.deploy("1.0", "rolling")
            async with site.load(**LIGHT) as load:
                await site.deploy("2.0", "blue-green")
                await site.settled_on("2.0", there)
            assert lost(load) == []
            (where,) = (await site.client.endpoints("shop")).pools[0].targets
            assert where.address == "fd77::11"
            found = {each.check: each for each in (await site.client.doctor(ENVIRONMENT)).findings}
            assert (found["ports"].level, "fd77::11" in found["ports"].text) == ("ok", True)
    finally:
        subprocess.run(hosts.command("ip", "addr", "del", "fd77::1/64", "dev", "eth0"), check=True)  # noqa: ASYNC221
        hosts[0].shell("ip addr del fd77::11/64 dev eth0")


async def test_a_power_cut_in_the_middle_is_undone_on_the_hosts_that_are_left(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling")
    async with site.load(**LIGHT) as load:
        began = await site.begin("2.0", "rolling", pre_deploy_hooks=["sleep 3"])
        await until_step(site, began, "pre_deploy_hooks")
        await asyncio.to_thread(hosts[2].crash)
        try:
            over = await site.until_over(150.0)
            assert over.status == "unwound", over
            await site.settled_on("1.0", hosts[0], hosts[1])
            assert set(await site.answering()) == {"1.0"}
        finally:
            await asyncio.to_thread(hosts[2].start)
        await until_status(site, "healthy")
        await site.settled_on("1.0", *hosts)
    only_in_flight(load)
    # Its application is back before the manager has found out that the host is.
    await until(lambda: site.kept(hosts[2]) == {"1.0"}, "the release that was undone is removed there, too", LOST_S)


async def test_a_power_cut_in_the_middle_is_done_without_where_a_host_may_fail(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling")
    async with site.load(**LIGHT) as load:
        began = await site.begin("2.0", "rolling", max_failed_hosts=1, pre_deploy_hooks=["sleep 3"])
        await until_step(site, began, "pre_deploy_hooks")
        await asyncio.to_thread(hosts[2].crash)
        try:
            assert (await site.until_over(150.0)).status == "succeeded"
            await site.settled_on("2.0", hosts[0], hosts[1])
            await until_status(site, "degraded")
        finally:
            await asyncio.to_thread(hosts[2].start)
        await until_status(site, "healthy")
        await site.settled_on("2.0", *hosts)
    only_in_flight(load)
    await until(lambda: site.kept(hosts[2]) == site.kept(hosts[0]), "nothing else is kept there", LOST_S)


async def test_a_hook_is_run_by_the_next_host_where_the_first_was_lost_before_it_was_begun(
    site: FarSite, hosts: HostSet
) -> None:
    await site.deploy("1.0", "rolling")
    hook = "echo $DEPLOYMENT_HOST >> /var/tmp/hooks"
    given = site.spec("2.0", "rolling", max_failed_hosts=2, pre_deploy_hooks=[hook])
    (site.artifact("2.0") / "big").write_bytes(os.urandom(48 << 20))  # takes longer than pulling a cable
    began = await site.client.deploy(given, wait=False)
    await until_step(site, began, "ship_release")
    hosts[2].cut()  # which holds the step, so that the first host is lost between its end there and the hook
    try:
        await until(hosts[0].path("/srv/shop/releases/2.0").exists, "the release stands on the first host", 60.0)
        hosts[0].cut()
        hosts[2].mend()
        over = await site.until_over(150.0)
        assert over.status == "succeeded", over
    finally:
        hosts[2].mend()
        hosts[0].mend()
    await until_status(site, "healthy")
    await site.settled_on("2.0", *hosts)
    said = [host.shell("cat /var/tmp/hooks 2>/dev/null; rm -f /var/tmp/hooks", expect=None) for host in hosts]
    assert said == ["", "host2\n", ""]


async def test_a_partition_keeps_nobody_from_being_answered_and_is_caught_up_with(
    site: FarSite, hosts: HostSet
) -> None:
    await site.deploy("1.0", "rolling")
    async with site.load(**LIGHT) as load:
        await asyncio.to_thread(hosts[1].cut)
        try:
            await until_status(site, "degraded")
            # The host was not told of the ends of connections that were cut: nobody is to wait for those for long.
            await site.deploy("2.0", "rolling", max_failed_hosts=1, drain_timeout="5s")
            assert set(await site.answering()) == {"2.0"}
            assert site.running(hosts[1]), "what runs behind the partition runs on"
        finally:
            await asyncio.to_thread(hosts[1].mend)
        await until_status(site, "healthy")
        await site.settled_on("2.0", *hosts)
    only_in_flight(load)


#: time to pull a cable while an instance ends, and none lost to connections whose end a host behind a partition missed
LINGERING: dict[str, Any] = {"configuration": {"LINGER_S": "3"}, "drain_timeout": "5s"}


@asynccontextmanager
async def partition_in_the_middle(site: FarSite, host: Host, **fields: Any) -> AsyncIterator[Rollout]:
    """2.0 serves on the first host, where 1.0 takes its time to end: the cable of another host is pulled. Gives the
    rollout as it ended; the cable is plugged in again at the end."""
    await until_step(site, await site.begin("2.0", "rolling", drain_timeout="5s", **fields), "stop_instances")
    try:
        await asyncio.to_thread(host.cut)
        seen = await site.last_rollout()
        assert seen is not None
        steps = [step.name for step in (await site.client.rollout("shop", seen.id)).steps]
        assert steps.count("start_instances") == 1, f"it was past the first host: {steps}"
        yield await site.until_over(150.0)
    finally:
        await asyncio.to_thread(host.mend)


async def test_a_partition_in_the_middle_is_gone_on_without_where_a_host_may_fail(
    site: FarSite, hosts: HostSet
) -> None:
    await site.deploy("1.0", "rolling", **LINGERING)
    async with site.load(**LIGHT) as load:
        async with partition_in_the_middle(site, hosts[1], max_failed_hosts=1) as over:
            assert over.status == "succeeded", over
            started = [step.message for step in over.steps if step.name == "start_instances"]
            assert started[1] == "started 1 instance, but for 1 on hosts out of reach"
            await site.settled_on("2.0", hosts[0], hosts[2])
            assert site.current(hosts[1]) == "1.0", "nobody was to reach it"
            await until_status(site, "degraded")
        await until_status(site, "healthy")
        await site.settled_on("2.0", *hosts)
    only_in_flight(load)
    await until(lambda: site.kept(hosts[1]) == site.kept(hosts[0]), "nothing else is kept there", LOST_S)


async def test_a_partition_in_the_middle_is_undone_where_no_host_may_fail(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling", **LINGERING)
    async with site.load(**LIGHT) as load:
        async with partition_in_the_middle(site, hosts[1], max_failed_hosts=0) as over:
            assert (over.status, failed_step(over)) == ("unwound", "start_instances"), over
            assert "Host host2 is out of reach" in over.message
            await site.settled_on("1.0", hosts[0], hosts[2])
        await until_status(site, "healthy")
        await site.settled_on("1.0", *hosts)
    only_in_flight(load)
    await until(lambda: site.kept(hosts[1]) == {"1.0"}, "the release that was undone is removed there, too", LOST_S)


async def test_a_host_that_boots_anew_serves_again_by_itself(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling")
    async with site.load(**LIGHT) as load:
        await site.kill()
        await asyncio.to_thread(hosts[0].reboot)
        await until(lambda: site.running(hosts[0]), "its units are back, with no manager there", 60.0)
        await site.restart()
        await until_status(site, "healthy")
        await site.settled_on("1.0", *hosts)
    # With no manager to drain it, a POST may meet the end of a connection that was idle; what it was at is finished.
    assert {loss.kind for loss in load.ledger.losses()} <= {"post"}, load.ledger.losses()
    assert len(lost(load)) <= LIGHT["connections"]


STEPS = (
    *("check_hosts", "ship_release", "pre_deploy_hooks", "start_instances", "await_ready", "shift_traffic"),
    *("drain", "stop_instances", "health_check", "post_deploy_hooks", "switch_hosts", "retire", "prune_hosts"),
)


async def cut_connections(hosts: HostSet) -> None:
    """The sessions of ours that are open there end, by their units; whoever connects again is let in."""
    kill = "systemctl kill --signal=KILL 'session-*.scope'"
    await asyncio.gather(*(asyncio.to_thread(host.shell, kill) for host in hosts))


async def test_connections_that_are_cut_at_each_step_change_nothing(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling")
    ran = "echo $DEPLOYMENT_ROLLOUT_ID $DEPLOYMENT_HOOK >> /var/tmp/hooks; sleep 0.5"
    async with site.load(**BRISK) as load:
        for number, step in enumerate(STEPS, start=2):
            began = await site.begin(f"{number}.0", "rolling", pre_deploy_hooks=[ran], post_deploy_hooks=[ran])
            await until_step(site, began, step)
            await cut_connections(hosts)
            over = await site.until_over(120.0)
            assert over.status == "succeeded", (step, over)
            await site.settled_on(f"{number}.0", *hosts)
    assert lost(load) == []
    told = hosts[0].shell("cat /var/tmp/hooks; rm /var/tmp/hooks").splitlines()
    assert len(told) == len(set(told)) == 2 * len(STEPS), "a hook ran twice, or not at all"


async def test_a_manager_killed_in_a_rollout_on_hosts_leaves_one_release(site: FarSite, hosts: HostSet) -> None:
    await site.deploy("1.0", "rolling")
    versions = []
    async with site.load(**BRISK) as load:
        for number, step in enumerate(("ship_release", "start_instances", "drain", "switch_hosts", "retire"), start=2):
            began = await site.begin(f"{number}.0", "rolling")
            await until_step(site, began, step)
            await site.kill()
            await site.restart()
            over = await site.until_over(120.0)
            version = f"{number}.0" if over.status == "succeeded" else versions[-1] if versions else "1.0"
            versions.append(version)
            await site.settled_on(version, *hosts)
    assert lost(load) == []
    assert "1.0" in versions


@contextmanager
def small_disk(host: Host, size: str) -> Iterator[None]:
    """Where deployments live on it is a file system of that size."""
    host.shell(f"mount -t tmpfs -o size={size} tmpfs /srv")
    try:
        yield
    finally:
        host.shell("umount --lazy /srv")  # where it failed, something may still run from there


def large(site: FarSite, version: str) -> None:
    """The artifact of that version has 10 MB that cannot be had out of another release."""
    (site.artifact(version) / "large").write_bytes(os.urandom(10_000_000))


async def test_a_full_disk_on_one_host_is_told_and_leaves_nothing(site: FarSite, hosts: HostSet) -> None:
    with small_disk(hosts[1], "8m"):
        large(site, "1.0")
        with pytest.raises(ApiError, match="on host host2: the release takes"):
            await site.deploy("1.0", "rolling")
        assert [site.traces(host) for host in hosts] == ["", "", ""]
        await site.deploy("0.1", "rolling")
        async with site.load(**LIGHT) as load:
            with pytest.raises(ApiError, match="on host host2: the release takes"):
                await site.deploy("1.0", "rolling")
            await site.settled_on("0.1", *hosts)
        assert lost(load) == []
        assert [site.kept(host) for host in hosts] == [{"0.1"}] * 3
        await site.client.delete("shop")


async def test_a_disk_that_fills_while_a_release_is_sent_there_is_told_and_undone(
    site: FarSite, hosts: HostSet
) -> None:
    with small_disk(hosts[1], "30m"):
        await site.deploy("1.0", "rolling")
        # Found before the system's own, it takes all that is left, and then goes on as that: what nobody could foresee.
        fills = '#!/bin/sh\nhead -c 30M /dev/zero > /srv/other 2> /dev/null\nexec /usr/bin/tar "$@"\n'
        hosts[1].path("/usr/local/sbin/tar").write_text(fills)
        hosts[1].path("/usr/local/sbin/tar").chmod(0o755)
        try:
            async with site.load(**LIGHT) as load:
                large(site, "2.0")
                over = await site.failed("2.0", "rolling")
                assert (over.status, failed_step(over)) == ("unwound", "ship_release"), over
                assert re.search("Host host2: .*No space left on device: the disk is full: free space", over.message)
                await site.settled_on("1.0", *hosts)
        finally:
            hosts[1].shell("rm -f /usr/local/sbin/tar /srv/other")
        assert lost(load) == []
        assert [host.shell("ls -A /srv/shop/releases").split() for host in hosts] == [["1.0"]] * 3
        await site.deploy("2.0", "rolling")
        await site.settled_on("2.0", *hosts)
        await site.client.delete("shop")


@dataclass
class Closed:
    """The third of the hosts lets the manager not in. configured: the hosts as it has them; more: for open_far_site."""

    configured: HostSet
    #: what the error says is to be done, and does it
    remedy: str
    mend: Callable[[], object]
    more: dict[str, Any] = field(default_factory=dict)


def wrong_key(hosts: HostSet, directory: Path) -> Closed:
    key, keys = directory / "wrong", hosts[2].path("/root/.ssh/authorized_keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    configured = replace(hosts, all=(*hosts[:2], replace(hosts[2], key=key)))
    added = keys.read_text() + key.with_suffix(".pub").read_text()
    return Closed(
        configured, "does not accept the key .*: add its public key .*ssh-copy-id -i ", lambda: keys.write_text(added)
    )


def unknown_host_key(hosts: HostSet, directory: Path) -> Closed:
    known, every = directory / "known_hosts", hosts[0].known_hosts.read_text()
    known.write_text("".join(line for line in every.splitlines(keepends=True) if hosts[2].address not in line))
    configured = replace(hosts, all=(replace(hosts[0], known_hosts=known), *hosts[1:]))
    return Closed(configured, "is not in .*: `ssh-keyscan -p 22 10.77.0.13 >> ", lambda: known.write_text(every))


def refused_sudo(hosts: HostSet, directory: Path) -> Closed:
    hosts[2].shell("mkdir -p /root/sudoers && mv /etc/sudoers.d/* /root/sudoers/")
    return Closed(
        hosts,
        "does not let deploy become root .*deploy ALL=.root. NOPASSWD: /bin/sh",
        lambda: hosts[2].shell("mv /root/sudoers/* /etc/sudoers.d/"),
        {"machine": {"user": "deploy"}},
    )


@pytest.mark.parametrize("closing", [wrong_key, unknown_host_key, refused_sudo])
async def test_a_host_that_lets_nobody_in_is_told_with_what_helps_and_nothing_is_changed_on_the_others(
    hosts: HostSet, tmp_path: Path, closing: Callable[[HostSet, Path], Closed]
) -> None:
    closed = closing(hosts, tmp_path)
    async with open_far_site(tmp_path, closed.configured, **closed.more) as site:
        try:
            with pytest.raises(ApiError, match=f"[Hh]ost host3 .*{closed.remedy}"):
                await site.deploy("1.0", "rolling")
            assert [site.traces(host) for host in hosts] == ["", "", ""]
        finally:
            closed.mend()


async def test_a_unit_of_the_users_own_is_restarted_on_every_host_and_never_written(
    site: FarSite, hosts: HostSet
) -> None:
    unit = (
        "[Service]\nEnvironment=HOST=0.0.0.0 PORT=3000\nWorkingDirectory=/srv/shop/current\n"
        "ExecStart=/bin/sh -c 'RELEASE_VERSION=$$(cat VERSION) exec /usr/bin/python3 polite.py'\n"
    )
    for host in hosts:
        host.path("/etc/systemd/system/mine.service").write_text(unit)
        host.ask("systemctl", "daemon-reload")
    fields = {"service_name": "mine", "systemd": {"unit": "existing", "port": 3000}, "command": None, "replicas": None}
    given = site.spec("1.0", "rolling", **fields)
    await site.client.deploy({k: v for k, v in given.items() if v is not None}, timeout=180)
    async with site.load(**LIGHT) as load:
        given = site.spec("2.0", "rolling", **fields)
        await site.client.deploy({k: v for k, v in given.items() if v is not None}, timeout=180)
        assert set(await site.answering()) == {"2.0"}
    assert lost(load) == []
    for host in hosts:
        assert host.path("/etc/systemd/system/mine.service").read_text() == unit
        assert site.current(host) == "2.0"
        assert "/var/lib/longshore-host/existing/mine.service" in site.traces(host)
    await site.client.delete("shop")
    for host in hosts:
        assert host.path("/etc/systemd/system/mine.service").read_text() == unit
        host.path("/etc/systemd/system/mine.service").unlink()
