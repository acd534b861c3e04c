"""Which host an instance goes to, and which hosts are taken together. Pure, as the strategies are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import floor

from longshore.model import Instance, Spec
from longshore.rollout.plan import View


def host_of(view: View, slot: int) -> str:
    """Slots go round the hosts in their order, so that the instances of any two hosts differ by one at most."""
    return view.hosts[slot % len(view.hosts)]


def beside(view: View, staying: Sequence[Instance], count: int) -> tuple[str, ...]:
    """The hosts of so many more instances than those that stay: each goes where the fewest are by then."""
    there = Counter(instance.host for instance in staying)
    found = []
    for _ in range(count):
        host = min(view.hosts, key=lambda name: there[name])
        there[host] += 1
        found.append(host)
    return tuple(found)


def too_many(serving: Sequence[Instance], count: int) -> tuple[Instance, ...]:
    """Those to go where so many are to stay: each the newest of a host that has the most by then."""
    left, gone = list(serving), []
    while len(left) > count:
        there = Counter(instance.host for instance in left)
        most = max(there.values())
        gone.append(max((i for i in left if there[i.host] == most), key=lambda instance: instance.slot))
        left.remove(gone[-1])
    return tuple(sorted(gone, key=lambda instance: instance.slot))


def batches(hosts: Sequence[str], serial: int | str | tuple[int | str, ...] | None) -> list[tuple[str, ...]]:
    """The hosts in runs of `serial`: a count, a percentage of all (rounded down, one at least), or a list of those.

    The last entry of a list is used for all that are left; None: all at once. Source of the rule: Ansible's `serial`.

    Worked: 10 hosts at [1, 5, "100%"]: 1, 5, 4. At "25%": 2, 2, 2, 2, 2.
    """
    if serial is None:
        return [tuple(hosts)]
    sizes = [_count(each, len(hosts)) for each in (serial if isinstance(serial, tuple) else (serial,))]
    found: list[tuple[str, ...]] = []
    at = 0
    while at < len(hosts):
        size = sizes[min(len(found), len(sizes) - 1)]
        found.append(tuple(hosts[at : at + size]))
        at += size
    return found


def in_batches(view: View, spec: Spec, serial: int | str | tuple[int | str, ...] | None) -> list[Batch]:
    """For each run of hosts the (id, slot) of the instances that arrive there, and the ids of those that leave.

    What is on a host that gets no instances any more leaves with the last run.
    """
    runs = batches(view.hosts, serial)
    arriving = [(f"{view.name}-{view.number}-{slot}", slot) for slot in range(spec.replicas)]
    found = []
    for hosts in runs:
        last = hosts is runs[-1]
        found.append(
            (
                tuple((id, slot) for id, slot in arriving if host_of(view, slot) in hosts),
                tuple(i.id for i in view.serving if i.host in hosts or (last and i.host not in view.hosts)),
            )
        )
    return found


#: instances that arrive, with their slots, and instances that leave
Batch = tuple[tuple[tuple[str, int], ...], tuple[str, ...]]


def _count(value: int | str, all_of_them: int) -> int:
    if isinstance(value, int):
        return max(1, value)
    return max(1, floor(float(value.rstrip("%")) * all_of_them / 100.0))
