"""Strategies: pure functions from what is there and what is wanted to the steps in between."""

from __future__ import annotations

from types import ModuleType

from longshore.rollout.strategies import blue_green, canary, recreate, rolling

# To add a strategy: a file here with NAME, NEEDS and plan(view, spec) → steps with one commit; a line below; a section
# in docs/guide/strategies.md. tests/contracts/test_strategies.py and tests/docs then cover it by themselves.
# NEEDS names the router capabilities it cannot do without where there is a port; validation refuses the rest.
STRATEGIES: dict[str, ModuleType] = {
    "recreate": recreate,
    "rolling": rolling,
    "blue-green": blue_green,
    "canary": canary,
}
