"""The network of the hosts: a bridge that nothing leads away from."""

import os

from kernel import CLONE_NEWNET, system
from machine import run

SUBNET = "10.77.0"
CONTROL = f"{SUBNET}.1"
FIRST = 10  # host I has the address SUBNET.(FIRST + I)


def host_name(index):
    return f"host{index}"


def address(index):
    return f"{SUBNET}.{FIRST + index}"


def hardware_address(ip_address):
    """The same at every boot, as a real card's, so that nobody's ARP cache goes stale."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in ip_address.split("."))


def ip(*commands, net=None):
    """ip(8) in this process's network namespace, or in `net`. (`ip netns exec` would hide the cgroups.)"""
    run(*(("nsenter", f"--net={net}") if net else ()), "ip", "-batch", "-", input="\n".join(commands) + "\n")


def make_network():
    """This process is on the bridge then. Returns a descriptor of the network namespace beside it, for who manages."""
    system("unshare", CLONE_NEWNET)
    control_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    system("unshare", CLONE_NEWNET)
    control = f"/proc/{os.getpid()}/fd/{control_namespace}"
    ip("link set lo up", "link add br0 type bridge", "link set br0 up")
    ip(
        "link set lo up",
        f"link add eth0 address {hardware_address(CONTROL)} type veth peer name control netns {os.getpid()}",
        f"addr add {CONTROL}/24 dev eth0",
        "link set eth0 up",
        net=control,
    )
    ip("link set control master br0 up")
    return control_namespace
