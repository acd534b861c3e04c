"""What a deploy would refuse, or be surprised by, where instances are units of systemd, here or on other hosts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from longshore.drivers.base import DriverError
from longshore.files import FilesError
from longshore.files.far.directory import SPARE_BYTES
from longshore.hosts.base import HostUnreachable
from longshore.model import Spec, Systemd
from longshore.rollout.observe import hosts_for
from longshore.rollout.providing import far_directory
from longshore.rollout.world import World

#: bound on asking all hosts, in seconds
ASK_S = 15.0


class Findings(Protocol):
    def warn(self, name: str, message: str) -> None: ...

    def refuse(self, name: str, message: str) -> None: ...


@dataclass
class _Answers:
    """What the hosts said: name → sentence."""

    out_of_reach: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def check_units(world: World, spec: Spec, findings: Findings) -> None:
    """What is asked of systemd fits the environment, the strategy and the hosts."""
    can = world.driver_of(spec.environment).capabilities()
    if spec.systemd != Systemd() and "existing" not in can:
        findings.refuse("systemd", f'environment {spec.environment!r} runs processes: this is for driver = "systemd"')
        return
    hosts = hosts_for(world, spec)
    if not hosts:
        wanted = ", ".join(f"{key}={value}" for key, value in spec.host_labels.items())
        findings.refuse("host_labels", f"no host of {spec.environment!r} has {wanted}")
        return
    if spec.systemd.unit == "managed":
        if spec.systemd.port is not None:
            findings.refuse("systemd.port", "is for units of your own; generated ones are each given a port (PORT)")
        return
    if not spec.service_name:
        findings.refuse("service_name", "name the unit that is to be restarted")
    if spec.strategy not in ("recreate", "rolling"):
        why = "a unit of your own cannot run twice on a host"
        findings.refuse("strategy", f"{why}, so {spec.strategy} is not possible: use recreate or rolling")
    if spec.replicas != len(hosts):
        findings.refuse(
            "replicas", f"a unit of your own runs once on each host, which makes {len(hosts)}: leave it out"
        )
    if spec.command is not None:
        findings.refuse("command", "a unit of your own says itself what it runs: leave it out")


async def check_hosts(world: World, spec: Spec, size_bytes: int, findings: Findings) -> None:
    """Every host is there, lets us have the directory, and has room for a release of so many bytes."""
    hosts = hosts_for(world, spec)
    if not world.is_far(spec.environment) or not hosts:
        return
    answers = _Answers()
    await asyncio.gather(*(_ask(world, spec, name, size_bytes, answers) for name in hosts))
    for name, why in answers.refused.items():
        findings.refuse("working_directory", f"on host {name}: {why}")
    for name, why in answers.out_of_reach.items():
        then = "the rollout would fail" if len(answers.out_of_reach) > spec.max_failed_hosts else "it would be left out"
        findings.warn("environment", f"host {name} is out of reach now, {then}: {why}")


async def _ask(world: World, spec: Spec, name: str, size_bytes: int, answers: _Answers) -> None:
    try:
        async with asyncio.timeout(ASK_S):
            directory = far_directory(world, spec, name)
            await directory.host.connect()
            standing = await directory.check()
    except HostUnreachable as error:
        answers.out_of_reach[name] = str(error)
    except TimeoutError:
        answers.out_of_reach[name] = f"it did not answer within {ASK_S:g} s"
    except (DriverError, FilesError) as error:
        answers.refused[name] = str(error)
    else:
        if standing.holder is not None and standing.holder != world.claim_of(spec.name):
            answers.refused[name] = f"{spec.working_directory!r} belongs to {standing.holder}"
        elif standing.free_bytes < (need := size_bytes + SPARE_BYTES):
            free = f"only {standing.free_bytes:,} are free there"
            answers.refused[name] = f"the release takes {need:,} bytes with its directories and lists, but {free}"
