"""Builders of what Envoy reads: pure functions from nouns to JSON objects. Nothing here touches a file or a process.

    boot.json ─► listener NAME.PORT ─► route shard rK, virtual host NAME (routes.py) ─► cluster NAME.POOL ─► targets

Why each field has its value stands in docs/guide/traffic.md and docs/adr/0003-envoy-fed-by-files.md; the numbers were
measured on Envoy 1.40.
"""

from __future__ import annotations

import socket
import zlib
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from longshore.routers.base import Target
from longshore.routers.envoy.cluster import Cluster

Json = dict[str, Any]

#: Route files are parsed whole, so a flip costs what its file holds: 500 deployments 20 ms with 16 files, 213 with 1.
SHARDS = 16
#: The header that carries the deployment's name from its listener to the shared route file; clients cannot set it.
APP_HEADER = "x-longshore-app"
#: Connecting here must be refused: it stands for the instances that do not exist yet.
PLACEHOLDER = Target("127.0.0.1", 1)
#: Below what usual servers close idle connections after (gunicorn 2 s, Node and uvicorn 5 s): a POST sent on a
#: connection the application is just closing would be lost. A new connection over loopback costs 0.1 ms.
UPSTREAM_IDLE_S = 1.5

#: In percent, of what a pool's healthy targets may carry of its requests: one in a thousand carries them all, so that
#: those on standby get nothing as long as there is one. Envoy's default of 140 begins to share below 72 % healthy.
ONE_IS_ENOUGH = 100_000

#: How long a client may take over the header of a request. nginx's client_header_timeout is 60 s, Apache's 20 to 40 s.
HEADER_S = 30
#: A client that vanished without a word (no FIN) is found by keep-alive probes after 60 + 6 * 10 s. Level, name, value:
#: SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT of Linux (socket(7), tcp(7)).
_KEEP_ALIVE = ((1, 9, 1), (6, 4, 60), (6, 5, 10), (6, 6, 6))

#: Seconds of silence after which another machine is asked whether it is there; three seconds later it is given up.
SILENCE_S = 2

_TYPE = "type.googleapis.com/envoy."
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: Envoy lists no bucket for what lies above the last bound: an hour (in ms) stands for no bound.
UNBOUNDED_MS = 3_600_000
#: upper bounds in ms, of two digits, as Envoy counts them. 1.5 times a bound is at most the next but one: a canary's
#: judge compares counts beyond a bound with counts beyond `max_latency_ratio` times it, rounded up to a bound.
LATENCY_BUCKETS_MS = [
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 23, 27, 35, 41, 53, 62, 80, 93, 120, 140, 180, 210, 270, 320, 410, 480),
    *(620, 720, 930, 1100, 1400, 1700, 2100, 2600, 3200, 3900, 4800, 5900, 7200, 8900, 11_000, 14_000, 17_000, 21_000),
    *(26_000, 32_000, UNBOUNDED_MS),
]


def shard_of(name: str) -> int:
    """The route file, 0-15, that holds a deployment's routes."""
    return zlib.crc32(name.encode()) % SHARDS


def listener_name(name: str, port: int) -> str:
    """A listener never changes, so its port is in its name: another port is another listener."""
    return f"{name}.{port}"


def port_of(listener: str) -> int:
    """The port of a listener, by its name."""
    return int(listener.rpartition(".")[2])


def reachable(listen_host: str) -> str:
    """The address by which this machine reaches what is bound to `listen_host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen_host, listen_host)


def boot(directory: Path, socket: Path, max_connections: int) -> Json:
    """boot.json: where everything else is read from.

    max_connections   bound on client connections of the whole process; Envoy needs twice as many files
    """
    return {
        "node": {"id": "longshore", "cluster": "longshore"},
        "admin": {"address": {"pipe": {"path": str(socket), "mode": 0o600}}},
        "stats_flush_on_admin": True,
        "dynamic_resources": {
            "lds_config": _from_file(directory / "lds.json"),
            "cds_config": _from_file(directory / "cds.json"),
        },
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": LATENCY_BUCKETS_MS}]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE + "extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": str(max_connections),
                    },
                }
            ]
        },
    }


def listener(directory: Path, name: str, host: str, port: int, max_connections: int) -> Json:
    """The public port of a deployment. Never changed once added: a changed listener drains its connections.

    max_connections   bound on client connections of this port; those beyond are closed at once
    """
    shard = shard_of(name)
    mark = {"header": {"key": APP_HEADER, "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    manager: Json = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "rds": {
            "route_config_name": f"r{shard}",
            "config_source": _from_file(directory / f"rds{shard}.json"),
        },
        "early_header_mutation_extensions": [
            {
                "name": "app",
                "typed_config": {
                    "@type": _TYPE + "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [{"append": mark}],
                },
            }
        ],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        # The defaults would cut quiet SSE streams, websockets and slow uploads.
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "request_headers_timeout": f"{HEADER_S}s",
        "http_filters": [
            {"name": "router", "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"}}
        ],
    }
    limit = {
        "@type": _TYPE + "extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "stat_prefix": name,
        "max_connections": str(max_connections),
    }
    return {
        "@type": _TYPE + "config.listener.v3.Listener",
        "name": listener_name(name, port),
        # The default lets two Envoys share a port in silence.
        "enable_reuse_port": False,
        "address": {"socket_address": {"address": host, "port_value": port}},
        # Accepted sockets inherit them.
        "socket_options": [
            {"level": str(level), "name": str(option), "int_value": str(value), "state": "STATE_PREBIND"}
            for level, option, value in _KEEP_ALIVE
        ],
        "filter_chains": [
            {"filters": [{"name": "limit", "typed_config": limit}, {"name": "hcm", "typed_config": manager}]}
        ],
    }


def route_frame(shard: int) -> Json:
    """A RouteConfiguration without its virtual hosts."""
    return {"@type": _TYPE + "config.route.v3.RouteConfiguration", "name": f"r{shard}", "vhost_header": APP_HEADER}


def cluster(of: Cluster) -> Json:
    """One pool of targets (or of the placeholder), those on standby behind it, its health checks and limits."""
    endpoints = [_endpoint(target) for target in of.targets] or [
        {**_endpoint(PLACEHOLDER), "health_check_config": {"disable_active_health_check": True}}
    ]
    assignment: Json = {
        "cluster_name": of.name,
        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint} for endpoint in endpoints]}],
    }
    if of.standby:
        standby = [{"endpoint": _endpoint(target)} for target in of.standby]
        assignment["endpoints"].append({"priority": 1, "lb_endpoints": standby})
        assignment["policy"] = {"overprovisioning_factor": ONE_IS_ENOUGH}
    check: Json = {"tcp_health_check": {}}
    if of.health_path is not None:
        statuses = [{"start": "200", "end": "400"}]
        check = {"http_health_check": {"path": of.health_path, "host": "localhost", "expected_statuses": statuses}}
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": of.name,
        # A dot would break the names of the statistics, and two clusters of one name would share their counters.
        "alt_stat_name": of.stat_name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": assignment,
        # 0 answers 503 as soon as none is healthy, the default of 50 sends to what is not ready.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        # The defaults are small, and max_retries (3) bounds held requests too.
        "circuit_breakers": {
            "thresholds": [
                dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 10000)
            ]
        },
        # Only for refused and reset connections: an application's own 5xx has to stay visible to the analysis.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "base_ejection_time": "1s",
            "interval": "1s",
            "max_ejection_percent": 50,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
        },
        # A check leaves no standing connection, which would look like a client when the instance drains.
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "reuse_connection": False,
                **check,
            }
        ],
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "metadata": {"filter_metadata": {"longshore": {"since": of.since}}},
        **_noticing_silence(of),
    }


def _noticing_silence(of: Cluster) -> Json:
    """A machine that has lost its power, or its cable, closes no connection: its kernel does not answer any more, which
    ours finds out only where it asks (keep-alive, where an answer is waited for) or is told how long it may go on
    sending (user timeout). What may be repeated is then repeated elsewhere. This machine is never silent so."""
    if all(ip_address(target.host).is_loopback for target in (*of.targets, *of.standby)):
        return {}
    return {
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": SILENCE_S, "keepalive_interval": 1, "keepalive_probes": 3}
        },
        "upstream_bind_config": {
            "socket_options": [
                {
                    "description": "TCP_USER_TIMEOUT",
                    "level": socket.IPPROTO_TCP,
                    "name": socket.TCP_USER_TIMEOUT,
                    "int_value": 1000 * (SILENCE_S + 3),
                    "state": "STATE_PREBIND",
                }
            ]
        },
    }


# ------------------------------------------------------------------------------------------------------- private


def _from_file(path: Path) -> Json:
    return {
        "path_config_source": {"path": str(path)},
        "resource_api_version": "V3",
        "initial_fetch_timeout": "2s",
    }


def _endpoint(target: Target) -> Json:
    return {"address": {"socket_address": {"address": target.host, "port_value": target.port}}}
