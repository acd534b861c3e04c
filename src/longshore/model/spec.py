"""What a deploy asks for, and what its health_check_url says of its port."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an instance's health is asked for. Times in seconds."""

    #: between two probes of an instance that serves; while one starts, probing is eager (20 ms growing to this)
    interval: float = 5.0
    #: bound on one probe
    timeout: float = 2.0
    #: how long an instance may take from its start until it is ready
    deadline: float = 60.0
    #: successes in a row that make an instance ready
    healthy_threshold: int = 2
    #: failures in a row that make a ready instance unready
    unhealthy_threshold: int = 3
    #: how long an instance must have been ready to count as available; a rollout waits that long for each new one
    min_ready: float = 0.0


@dataclass(frozen=True, slots=True)
class Rolling:
    """A count, or a percentage of `replicas` such as "25%". Surge rounds up, unavailable down (as Kubernetes does)."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = 0
    #: hosts at a time: a count, a percentage of the hosts, or a list of those, the last of which repeats; None: the
    #: bounds above are all that counts
    serial: int | str | tuple[int | str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CanaryStep:
    #: percent of the requests that the candidate gets, 1-100
    weight: int
    #: seconds the candidate is watched at that weight; "manual" waits for promote or resume
    pause: float | Literal["manual"] = 10.0


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Somebody else's judgement on a candidate; exactly one of `http`, `command` and `prometheus` is given."""

    name: str
    #: URL to GET
    http: str = ""
    #: shell line
    command: str = ""
    #: URL of a Prometheus, which is asked `query`
    prometheus: str = ""
    query: str = ""
    #: what the answer of `http` must contain
    expect: str = ""
    #: bounds of every value of `query`
    min: float | None = None
    max: float | None = None
    #: seconds between two askings, and bound on each
    interval: float = 10.0
    timeout: float = 5.0
    #: failing answers at which the candidate is failed
    failure_limit: int = 1

    @property
    def kind(self) -> str:
        """Key in rollout.analysis.checks.CHECKS."""
        return "http" if self.http else "command" if self.command else "prometheus"


OnInconclusive = Literal["pause", "continue", "abort"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Limits the candidate is held to, against the stable version in the same window. See docs/guide/canary.md."""

    #: requests that each side must have answered before a candidate can pass
    min_requests: int = 50
    #: percentage points that the candidate's error rate may lie above the stable version's
    max_error_rate_increase: float = 1.0
    #: percentage points that its share of 4xx answers, and that of 3xx, may lie above; 100 is no limit
    max_3xx_4xx_increase: float = 5.0
    #: the candidate's p50, p95 and p99 latency may each be at most this many times the stable version's …
    max_latency_ratio: float = 1.5
    #: … and is never held against it below this many seconds of difference (noise of fast applications)
    min_latency_increase: float = 0.05
    #: at most this share of canaries that keep to the limits is failed by the figures, 0-1
    false_alarm_rate: float = 0.05
    #: what a watch does that ends without a verdict; None: pause, but continue where the steps are the built-in ones
    on_inconclusive: OnInconclusive | None = None
    checks: tuple[CanaryCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Canary:
    steps: tuple[CanaryStep, ...] = (CanaryStep(5), CanaryStep(25), CanaryStep(50), CanaryStep(100))
    analysis: Analysis = Analysis()
    #: keep each client on the version it met first (cookie `longshore_NAME`)
    sticky: bool = False

    @property
    def on_inconclusive(self) -> OnInconclusive:
        """Who chose no steps may know of none, nor of promote: such a rollout must come to its end by itself."""
        return self.analysis.on_inconclusive or ("continue" if self.steps == Canary().steps else "pause")


@dataclass(frozen=True, slots=True)
class BlueGreen:
    #: seconds the old set stays warm after the switch, so that a rollback is the switch back
    keep_old: float = 60.0


@dataclass(frozen=True, slots=True)
class Recreate:
    #: seconds the router holds requests while nothing runs; 0 answers 503 with Retry-After at once
    hold: float = 30.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of each instance; None is unlimited."""

    #: bytes
    memory: int | None = None
    #: cores, such as 0.5
    cpu: float | None = None
    #: processes and threads
    tasks: int | None = None
    #: open files
    files: int | None = None


@dataclass(frozen=True, slots=True)
class Systemd:
    """What is asked of systemd for each instance, where it runs them. See docs/guide/systemd.md."""

    #: "managed": units that are generated; "existing": the user's own, `service_name`: restarted, never written
    unit: Literal["managed", "existing"] = "managed"
    #: the port that a unit of the user's own listens on: the router serves `port` from there; None: no router is used
    port: int | None = None
    #: "notify": the application says itself that it is ready (sd_notify)
    type: Literal["exec", "notify"] = "exec"
    #: seconds within which it must say that it is alive (sd_notify WATCHDOG=1), else it is started again; None: never
    watchdog: float | None = None
    #: full: nothing but its own directories can be written · strict: and much is taken away that applications rarely
    #: need (drivers/systemd/units.py) · off: nothing is
    sandbox: Literal["off", "full", "strict"] = "full"
    #: a user of its own that exists while it runs
    dynamic_user: bool = False


HooksOn = Literal["local", "once", "each"]


STRATEGY_NAMES = ("rolling", "blue-green", "canary", "recreate")
StrategyName = Literal["rolling", "blue-green", "canary", "recreate"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a deploy asks for, complete: inherited and default values filled in. Stored with the release it made."""

    name: str
    version: str
    artifact_path: str
    environment: str = "default"
    strategy: StrategyName = "recreate"
    #: absolute; where releases/, current and shared/ live
    working_directory: str = ""
    service_name: str = ""
    health_check_url: str = ""
    rollback_on_failure: bool = True
    dependencies: tuple[str, ...] = ()
    pre_deploy_hooks: tuple[str, ...] = ()
    post_deploy_hooks: tuple[str, ...] = ()
    replicas: int = 1
    #: a string runs under /bin/sh -c, a list is the argv itself; None: the artifact says (Procfile, single executable)
    command: str | tuple[str, ...] | None = None
    #: the public port, where health_check_url does not name it
    port: int | None = None
    #: environment variables of the app
    configuration: Mapping[str, str] = field(default_factory=dict)
    shared_paths: tuple[str, ...] = ()
    health_check: HealthCheck = HealthCheck()
    rolling: Rolling = Rolling()
    canary: Canary = Canary()
    blue_green: BlueGreen = BlueGreen()
    recreate: Recreate = Recreate()
    #: bound on how long connections of an instance that leaves may go on
    drain_timeout: float = 30.0
    #: between SIGTERM and SIGKILL
    stop_timeout: float = 10.0
    #: bound on each hook
    hook_timeout: float = 300.0
    #: a rollout without progress for this long fails; each instance that becomes ready resets it
    progress_deadline: float = 600.0
    artifact_sha256: str = ""
    resources: Resources = Resources()
    post_deploy_failure: Literal["warn", "rollback"] = "warn"
    systemd: Systemd = Systemd()
    #: where hooks run, in an environment with hosts: on the manager's machine, on the first host that answers, on each
    hooks_on: HooksOn = "once"
    #: labels that a host must have to get instances
    host_labels: Mapping[str, str] = field(default_factory=dict)
    #: hosts that may be out of reach without the rollout failing; the monitor brings them up to date when they are back
    max_failed_hosts: int = 0

    @property
    def public_port(self) -> int | None:
        """The port clients use: `port`, else the one of a local http health_check_url, else none."""
        if self.port is not None:
            return self.port
        if self.health_check_url and is_local_http(self.health_check_url):
            return urlsplit(self.health_check_url).port or 80
        return None

    @property
    def unit_port(self) -> int | None:
        """The port that the user's own unit listens on, as far as that is said; None for units that are generated."""
        if self.systemd.unit == "managed":
            return None
        if self.systemd.port is None and self.health_check_url and is_local_http(self.health_check_url):
            return urlsplit(self.health_check_url).port or 80
        return self.systemd.port

    @property
    def is_served(self) -> bool:
        """Whether there is a public port for a router to serve: a unit of the user's own may serve it by itself."""
        return self.public_port is not None and (self.systemd.unit == "managed" or self.systemd.port is not None)

    @property
    def probe_path(self) -> str | None:
        """Path (and query) each instance is asked for on its own port; None: a TCP connect is the check."""
        if self.health_check_url and is_local_http(self.health_check_url):
            parts = urlsplit(self.health_check_url)
            return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return None

    @property
    def external_check(self) -> str | None:
        """A health_check_url that is polled as it stands, as a check of the whole."""
        if self.health_check_url and not is_local_http(self.health_check_url):
            return self.health_check_url
        return None


def is_local_http(url: str) -> bool:
    """Whether the URL is http on this machine, so that its port is the deployment's public port.

    Names are compared, never looked up: what a name resolves to may change between two rollouts.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "http" or not host:
        return False
    if host in {"localhost", socket.gethostname().lower()} or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
