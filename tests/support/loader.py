"""The demo's clients as a program of their own: `python loader.py PORT`, until its standard input ends.

For a network that the tests are not in. The last line that it prints is JSON: {"sent", "failed", "losses", "versions"}.
"""

from __future__ import annotations

import asyncio
import json
import sys

from longshore.demo.load import Load, Mix


async def main(port: int) -> None:
    mix = Mix(connections=6, websockets=1, streams=1, slow=1, held_s=2.0, pause_s=0.03)
    async with Load("127.0.0.1", port, mix) as load:
        print("asking", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    summary = load.ledger.summary()
    told = {"sent": summary.sent, "failed": summary.failed, "versions": dict(summary.versions)}
    print(json.dumps({**told, "losses": [str(loss) for loss in load.ledger.losses()[:20]]}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
