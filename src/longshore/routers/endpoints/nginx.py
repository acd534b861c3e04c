"""nginx: an `upstream` named as the deployment, for a `proxy_pass http://NAME` of your own configuration.

An upstream without servers is refused by nginx, so there is one that is down: requests are answered 502 meanwhile.
"""

from __future__ import annotations

from longshore.routers.base import Traffic
from longshore.routers.endpoints.base import address, exact, header, shares


def render(name: str, traffic: Traffic | None) -> str:
    serving = shares(traffic)
    # In shared memory, so that weights count for all workers together and not for each alone.
    lines = [f"# {header(name)}", f"upstream {name} {{", f"    zone longshore_{name} 64k;"]
    for each, weight in zip(serving, exact([each.share for each in serving]), strict=True):
        who = f"{each.target.instance} {each.pool.version}".strip()
        lines.append(f"    server {address(each.target)} weight={weight};{f'  # {who}' if who else ''}")
    if not serving:
        lines.append("    server 127.0.0.1:9 down;  # nothing serves")
    return "\n".join([*lines, "}"]) + "\n"
