"""HAProxy (2.2 or newer): a `backend` named as the deployment, for a `use_backend` of your own configuration.

Without servers HAProxy answers 503. Weights are 1-256 (configuration manual, `weight`).
"""

from __future__ import annotations

from longshore.routers.base import Traffic
from longshore.routers.endpoints.base import address, header, shares, within

MOST = 256


def render(name: str, traffic: Traffic | None) -> str:
    serving = shares(traffic)
    lines = [f"# {header(name)}", f"backend {name}"]
    paths = {each.pool.health_path for each in serving}
    if len(paths) == 1 and (path := paths.pop()) is not None:
        lines += [
            "    option httpchk",
            f"    http-check send meth GET uri {_quoted(path)} ver HTTP/1.1 hdr Host localhost",
            "    http-check expect status 200-399",
        ]
    # Where nobody listens any more, nothing was lost yet: the next one is asked at once.
    lines.append("    option redispatch 1")
    for each, weight in zip(serving, within([each.share for each in serving], MOST), strict=True):
        server = each.target.instance or address(each.target).replace("[", "").replace("]", "")
        lines.append(
            f"    server {server} {address(each.target)} weight {weight} check inter 1s  # {each.pool.version}"
        )
    return "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    """Between single quotes nothing has a meaning (configuration manual, 2.2); a quote of its own stands alone."""
    return "'" + path.replace("'", "'\\''") + "'"
