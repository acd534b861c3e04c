"""The applications of simulated histories: what instances of each version do."""

from __future__ import annotations

from longshore.drivers.mock import Script

SCRIPTS = {
    "good-1": Script(),
    "good-2": Script(lingers=2.0),
    "good-3": Script(ignores_term=True),
    "good-slow": Script(ready_after=4.0),
    "never-ready": Script(never_ready=True),
    "too-slow": Script(ready_after=30.0),
    "not-startable": Script(start_error="no such program"),
    "ends-at-once": Script(exit_after=0.0),
    "ends-soon": Script(exit_after=8.0),
    "ends-later": Script(exit_after=200.0),
    "falls-sick": Script(sick_after=60.0),
    "lies": Script(lies="always"),
}
GOOD = tuple(version for version in SCRIPTS if version.startswith("good"))
#: they do not get as far as serving
STILLBORN = ("never-ready", "too-slow", "not-startable", "ends-at-once", "lies")


def is_good(version: str) -> bool:
    """Also one that is a good one's files with another configuration."""
    return version.partition("+")[0] in GOOD
