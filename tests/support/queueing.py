"""Requests to a Shop that may have to wait: `busy()` keeps it occupied, `ask()` asks, `queue()` shows who waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longshore.model import Rollout
from longshore.rollout.terms import Terms
from longshore.settings import Environment
from support.engine import Lab
from support.shop import Shop, until

#: who asks, and does not mind to wait
ANA = Terms("ana", on_conflict="queue")
BEN = Terms("ben", on_conflict="queue")
#: … and who does not mean to
IMPATIENT = Terms("ben", on_conflict="supersede")


async def ask(shop: Shop, version: str, terms: Terms = ANA, **fields: Any) -> Rollout:
    shop.clock.time += 10
    return await shop.lab.service.deploy(shop.request(version, **fields), terms=terms)


async def busy(shop: Shop, version: str = "2.0", **fields: Any) -> Rollout:
    """A rollout that goes on until its instances may start: let_go()."""
    shop.script(version, start_block="before")
    rollout = await ask(shop, version, **fields)
    await until(lambda: shop.driver_world.blocked(version) == 2, "both are about to start")
    return rollout


def let_go(shop: Shop, version: str = "2.0") -> None:
    """Let that rollout go on, and whatever starts this version from now on."""
    shop.script(version)
    shop.driver_world.unblock(version)


def queue(shop: Shop) -> list[tuple[str, str]]:
    return [(w.spec.version, w.waiting_for.value) for w in shop.lab.service.status("shop").queue]


def needs_approval(lab: Lab) -> None:
    """From now on, until the manager is restarted."""
    preparation = lab.service._preparation
    preparation._settings = preparation._settings.model_copy(
        update={"environments": {"default": Environment(approval=True)}}
    )


def approves_by_itself(lab: Lab) -> None:
    """As before."""
    preparation = lab.service._preparation
    preparation._settings = preparation._settings.model_copy(update={"environments": {}})


def look(shop: Shop) -> None:
    """What the monitor does every half minute."""
    shop.lab.world.look_at_queue(None)


def late(terms: Terms, seconds: float) -> Terms:
    return replace(terms, queue_timeout=seconds)
