"""`longshore doctor --environment` against real hosts: what is in order, and each thing that may be missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from longshore.cli.root import cli
from longshore.client import NotFound
from longshore.client.results import Finding
from support.far_site import ENVIRONMENT, FarSite, open_far_site
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.listening import listening

pytestmark = pytest.mark.slow

CHECKS = {"reach", "systemd", "limits", "tools", "space", "clock", "ports"}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("hosts"), 1) as hosts, hosts.inside():
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def host(hosts: HostSet) -> Host:
    return hosts[0]


@pytest.fixture
async def site(tmp_path: Path, hosts: HostSet, request: pytest.FixtureRequest) -> AsyncIterator[FarSite]:
    """Parametrized by fields of the environment."""
    async with open_far_site(tmp_path, hosts, **getattr(request, "param", {})) as site:
        yield site


async def found(site: FarSite) -> dict[str, Finding]:
    return {finding.check: finding for finding in (await site.client.doctor(ENVIRONMENT)).findings}


async def test_a_host_that_is_in_order_is_said_to_be(site: FarSite, hosts: HostSet, host: Host) -> None:
    findings = await found(site)
    assert set(findings) == CHECKS
    limits = findings.pop("limits")
    assert (limits.level == "ok") is ({"cpu", "memory", "pids"} <= hosts.limits), limits.text
    assert {finding.text for finding in findings.values() if finding.level != "ok"} == set()
    assert "Debian" in findings["reach"].text
    assert f"{host.address}:29999 answers" in findings["ports"].text
    assert host.shell("pgrep -f [s]ocket-activate", expect=None) == ""


async def test_looking_takes_nothing_from_the_manager(site: FarSite) -> None:
    await site.deploy("1.0", "recreate")
    await site.client.doctor(ENVIRONMENT)
    await site.deploy("2.0", "rolling")
    await site.settled_on("2.0", *site.hosts)


async def test_an_environment_there_is_not_is_said_with_those_there_are(site: FarSite) -> None:
    with pytest.raises(NotFound, match="known are production"):
        await site.client.doctor("prodution")


@pytest.mark.parametrize("site", [{"machine": {"listen": "127.0.0.1"}}], indirect=True)
async def test_instances_that_cannot_be_reached_from_the_manager_fail(site: FarSite, host: Host) -> None:
    finding = (await found(site))["ports"]
    assert finding.level == "fail"
    assert f"{host.address}:29999" in finding.text
    assert "ufw allow proto tcp from 10.77.0.1 to any port 20000:29999" in finding.remedy


@pytest.fixture
def taken(host: Host) -> Iterator[None]:
    """The port that is tried first is in use there."""
    with listening(host.command, "0.0.0.0:29999"):
        yield


@pytest.mark.usefixtures("taken")
async def test_a_port_that_is_in_use_there_is_no_firewall(site: FarSite, host: Host) -> None:
    finding = (await found(site))["ports"]
    assert (finding.level, finding.text) == ("ok", f"instances can be reached: {host.address}:29998 answers")


@pytest.mark.parametrize("site", [{"machine": {"user": "nobody-there"}}], indirect=True)
async def test_a_host_that_refuses_the_key_is_told_with_what_to_do(site: FarSite) -> None:
    (finding,) = (await site.client.doctor(ENVIRONMENT)).findings
    assert (finding.check, finding.level) == ("reach", "fail")
    assert "ssh-copy-id -i " in finding.remedy


@pytest.mark.parametrize("site", [{"ssh": {"known_hosts": "/nonexistent/known_hosts"}}], indirect=True)
async def test_a_host_that_is_not_known_fails_on_the_command_line_with_the_line_to_run(site: FarSite) -> None:
    arguments = ["--data-dir", str(site.data), "doctor", "--environment", ENVIRONMENT]
    done = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    assert done.exit_code == 1, done.output
    assert done.output.startswith("fail  host1  reach     the manager cannot work there over SSH\n")
    assert "ssh-keyscan -p 22 10.77.0.11 >> /nonexistent/known_hosts" in done.output


@pytest.mark.parametrize("site", [{"machine": {"user": "deploy"}}], indirect=True)
async def test_a_sudo_that_is_refused_is_told_with_its_line(site: FarSite, host: Host) -> None:
    assert (await found(site))["reach"].level == "ok"
    await site.kill()
    await site.restart()
    host.shell("mkdir -p /root/sudoers && mv /etc/sudoers.d/* /root/sudoers/")
    try:
        finding = (await found(site))["reach"]
    finally:
        host.shell("mv /root/sudoers/* /etc/sudoers.d/")
    assert finding.level == "fail"
    assert "deploy ALL=(root) NOPASSWD: /bin/sh" in finding.remedy


@pytest.mark.parametrize("site", [{"scope": "user", "machine": {"user": "deploy"}}], indirect=True)
async def test_a_user_who_does_not_linger_is_told_to(site: FarSite, host: Host) -> None:
    assert (await found(site))["linger"].level == "ok"
    host.shell("mv /var/lib/systemd/linger/deploy /root/linger")
    try:
        finding = (await found(site))["linger"]
    finally:
        host.shell("mv /root/linger /var/lib/systemd/linger/deploy")
    assert (finding.level, finding.remedy) == ("fail", "there: loginctl enable-linger deploy")


@pytest.mark.parametrize("site", [{"user": "shopkeeper", "apps": "/proc/apps"}], indirect=True)
async def test_a_user_and_a_place_that_are_not_there_fail(site: FarSite) -> None:
    findings = await found(site)
    assert [findings[name].level for name in ("user", "space")] == ["fail", "fail"]
    assert "useradd --system --create-home shopkeeper" in findings["user"].remedy


async def test_a_tool_that_is_missing_is_told_with_its_package(site: FarSite, host: Host) -> None:
    host.shell("mv /usr/bin/sha256sum /root/")
    try:
        finding = (await found(site))["tools"]
    finally:
        host.shell("mv /root/sha256sum /usr/bin/")
    assert (finding.level, finding.text) == ("fail", "lacks sha256sum")
    assert finding.remedy == "there: apt-get install coreutils"
