"""Steps: what a plan is made of."""

from __future__ import annotations

from longshore.rollout.plan import Step
from longshore.rollout.steps.artifact import FetchArtifact
from longshore.rollout.steps.backup import CreateBackup
from longshore.rollout.steps.canary import WatchCanary
from longshore.rollout.steps.copy_release import CopyRelease
from longshore.rollout.steps.dependencies import CheckDependencies
from longshore.rollout.steps.health import AwaitReady, HealthCheck
from longshore.rollout.steps.hooks import RunHooks
from longshore.rollout.steps.hosts import CheckHosts, PruneHosts, ShipRelease, SwitchHosts
from longshore.rollout.steps.instances import KeepWarm, RetireInstances, StartInstances, StopInstances
from longshore.rollout.steps.release import Commit, Prune, SwitchCurrent
from longshore.rollout.steps.traffic import DrainInstances, ShiftTraffic, VerifyTraffic

# To add a step: a frozen dataclass with KIND, run() and undo() in a file here, a line below, a row in
# docs/guide/strategies.md. tests/contracts/test_steps.py then checks that undo without run is harmless, that twice is
# once, and that it survives its JSON. Never rename a key: plans stored by older versions name it.
STEPS: dict[str, type[Step]] = {
    "check_dependencies": CheckDependencies,
    "check_hosts": CheckHosts,
    "fetch_artifact": FetchArtifact,
    "copy_release": CopyRelease,
    "create_backup": CreateBackup,
    "ship_release": ShipRelease,
    "run_hooks": RunHooks,
    "start_instances": StartInstances,
    "await_ready": AwaitReady,
    "shift_traffic": ShiftTraffic,
    "verify_traffic": VerifyTraffic,
    "watch_canary": WatchCanary,
    "drain": DrainInstances,
    "stop_instances": StopInstances,
    "switch_current": SwitchCurrent,
    "health_check": HealthCheck,
    "switch_hosts": SwitchHosts,
    "commit": Commit,
    "keep_warm": KeepWarm,
    "retire": RetireInstances,
    "prune": Prune,
    "prune_hosts": PruneHosts,
}
