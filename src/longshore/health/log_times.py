"""Has each log looked at every second, so that it is known when its lines were written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from longshore.drivers.base import Driver, Output
from longshore.drivers.log_times import LOOK_S
from longshore.fleet import Fleet
from longshore.health.inventory import Inventory
from longshore.store import Store

log = logging.getLogger("longshore.monitor")


async def keep_log_times(store: Store, fleet: Fleet, driver_of: Callable[[str], Driver]) -> None:
    """Until cancelled. A look that fails is logged, and the next one follows."""
    inventory = Inventory(store)
    while True:
        try:
            inventory.refresh()
            outputs: dict[int, tuple[Driver, list[Output]]] = {}
            for deployment in inventory.deployments:
                driver = driver_of(deployment.environment)
                found = outputs.setdefault(id(driver), (driver, []))[1]
                found += [fleet.output_of(instance) for instance in inventory.instances(deployment.name)]
            for driver, of_it in outputs.values():
                driver.note_times(of_it)
        except Exception:
            log.exception("the logs could not be looked at")
        await asyncio.sleep(LOOK_S)
