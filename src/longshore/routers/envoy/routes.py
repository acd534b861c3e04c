"""The routes of one deployment: a pure function from its traffic to a virtual host."""

from __future__ import annotations

import math

from longshore.routers.base import Traffic
from longshore.routers.envoy.cluster import cluster_name
from longshore.routers.envoy.resources import APP_HEADER, Json

#: `x-canary: 1` asks for the candidate, whatever its weight.
CANARY_HEADER = "x-canary"
#: 64 MiB of a held request's body are kept, so that it can be sent once there is somebody to send it to.
HELD_BODY_BYTES = 64 * 1024**2
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: of the four tries that a request has
TRIES_IN_POOL = 2
_NOTHING_SENT = "connect-failure,refused-stream,reset-before-request"


def cookie_name(name: str) -> str:
    """Cookies ignore ports: the deployment's name keeps two deployments of one host apart."""
    return f"longshore_{name}"


def virtual_host(name: str, traffic: Traffic) -> Json:
    """All routes of one deployment, first match first: the canary header, the sticky cookies, everybody else."""
    host: Json = {"name": name, "domains": [name], "request_headers_to_remove": [APP_HEADER]}
    held = held_pool(traffic)
    if held is not None:
        host["request_body_buffer_limit"] = str(HELD_BODY_BYTES)
        hold = {"cluster": cluster_name(name, held), "retry_policy": _hold_policy(traffic.hold or 0)}
        return {**host, "routes": [_route(hold)]}
    everybody = shares(traffic)
    if not everybody:
        return {**host, "routes": [_nobody_serves()]}
    routes: list[Json] = []
    if traffic.candidate is not None and traffic.candidate.targets:
        asked = {"name": CANARY_HEADER, "string_match": {"exact": "1"}}
        routes += _by_method({"cluster": cluster_name(name, traffic.candidate.id)}, asked)
    if traffic.sticky and len(everybody) > 1:
        for pool in everybody:
            pinned = {"name": "cookie", "string_match": {"contains": f"{cookie_name(name)}={pool}"}}
            routes += _by_method({"cluster": cluster_name(name, pool)}, pinned)
    return {**host, "routes": routes + _by_method(_split(name, everybody, traffic.sticky))}


def shares(traffic: Traffic) -> dict[str, int]:
    """Percent of the requests for each pool that gets any. A pool without targets gets none: the other has it all."""
    stable = traffic.stable.id if traffic.stable is not None and traffic.stable.targets else None
    candidate = traffic.candidate.id if traffic.candidate is not None and traffic.candidate.targets else None
    if stable is None and candidate is None:
        return {}
    if stable is None or candidate is None:
        alone = stable or candidate
        wanted = stable is not None or traffic.weight > 0
        return {alone: 100} if alone is not None and wanted else {}
    return {pool: weight for pool, weight in ((stable, 100 - traffic.weight), (candidate, traffic.weight)) if weight}


def held_pool(traffic: Traffic) -> str | None:
    """The pool that requests wait for, if they wait."""
    if traffic.hold and traffic.stable is not None and not traffic.stable.targets:
        return traffic.stable.id
    return None


# ------------------------------------------------------------------------------------------------------- private


def _route(to: Json, *headers: Json) -> Json:
    match: Json = {"prefix": "/", "headers": list(headers)} if headers else {"prefix": "/"}
    return {"match": match, "route": {"timeout": "0s", **to}}


def _by_method(to: Json, *headers: Json) -> list[Json]:
    """The three methods that may be repeated by name, then all others: an unknown method is not idempotent."""
    safe = [{"name": ":method", "string_match": {"exact": method}} for method in _SAFE_METHODS]
    repeatable = {**to, "retry_policy": _policy(_NOTHING_SENT + ",reset")}
    careful = {**to, "retry_policy": _policy(_NOTHING_SENT)}
    return [*(_route(repeatable, *headers, method) for method in safe), _route(careful, *headers)]


def _split(name: str, shares: dict[str, int], sticky: bool) -> Json:
    if len(shares) == 1:
        return {"cluster": cluster_name(name, next(iter(shares)))}
    clusters: list[Json] = [{"name": cluster_name(name, pool), "weight": weight} for pool, weight in shares.items()]
    if sticky:
        for pool, entry in zip(shares, clusters, strict=True):
            value = f"{cookie_name(name)}={pool}; Path=/; HttpOnly; SameSite=Lax"
            header = {"key": "set-cookie", "value": value}
            entry["response_headers_to_add"] = [{"header": header, "append_action": "APPEND_IF_EXISTS_OR_ADD"}]
    return {"weighted_clusters": {"clusters": clusters}}


def _policy(retry_on: str) -> Json:
    retry = "type.googleapis.com/envoy.extensions.retry."
    hosts = {"@type": f"{retry}host.previous_hosts.v3.PreviousHostsPredicate"}
    # A pool's own targets are tried twice, then those on standby: before a health check has found all of it dead, too.
    pools = {
        "@type": f"{retry}priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency": TRIES_IN_POOL,
    }
    return {
        "retry_on": retry_on,
        "num_retries": 3,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [{"name": "prev", "typed_config": hosts}],
        "retry_priority": {"name": "standby", "typed_config": pools},
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }


def _hold_policy(hold_s: float) -> Json:
    # The mean back-off is 0.25 s. A timeout would be exact, but would also cut what was admitted after the hold.
    return {
        "retry_on": _NOTHING_SENT,
        "num_retries": max(1, math.ceil(4 * hold_s)),
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"},
    }


def _nobody_serves() -> Json:
    retry = {"header": {"key": "retry-after", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    body = {"inline_string": "no instance serves at the moment; try again in a second\n"}
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 503, "body": body},
        "response_headers_to_add": [retry],
    }
