"""Hosts: the machines that instances run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longshore.fence import Fence, unfenced
from longshore.hosts.attempt import attempt
from longshore.hosts.base import HERE, Done, Facts, Host, Hosts, HostUnreachable, ScriptFailed
from longshore.hosts.local import LocalHost
from longshore.hosts.ssh import SshHost

if TYPE_CHECKING:
    from longshore.settings import Environment

__all__ = [
    "HERE",
    "Done",
    "Facts",
    "Host",
    "HostUnreachable",
    "Hosts",
    "ScriptFailed",
    "attempt",
    "make_hosts",
]


def make_hosts(environment: Environment, manager_id: str, epoch: int, fence: Fence = unfenced) -> Hosts:
    """The hosts of an environment, by name; this machine under HERE where it names none. None is connected yet.

    manager_id, epoch   of the store (Store.manager_id, Store.db.epoch) once it was taken over
    fence               passed before each session
    """
    if not environment.hosts:
        return {HERE: LocalHost(environment.scope, manager_id, epoch, fence)}
    return {
        host.name: SshHost(host, environment.ssh, environment.scope, manager_id, epoch, fence)
        for host in environment.hosts
    }
