"""A manager that flips one deployment without a pause until it is killed: `python -m … DIRECTORY PORT V1 V2`.

Run as a process of its own by tests that kill a manager in the middle of a write.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from longshore.routers.base import Target, TargetPool, Traffic
from longshore.routers.envoy import EnvoyRouter


async def main(directory: Path, port: int, first: int, second: int) -> None:
    router = EnvoyRouter(directory, listen_host="127.0.0.1", on_event=lambda type, message: None)
    pools = [
        TargetPool(id, (Target("127.0.0.1", each),), "/health")
        for id, each in (("aaaaaaa1", first), ("bbbbbbb2", second))
    ]
    await router.restore({"shop": Traffic(port, pools[0])})
    print("ready", flush=True)
    while True:
        for pool in reversed(pools):
            await router.apply("shop", Traffic(port, pool))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *(int(each) for each in sys.argv[2:5])))
