"""What tests of whole histories need."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from longshore.rollout.steps import hooks
from support import living


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hooks are written down, and of the log only errors are kept: some hundred thousand lines nobody reads."""
    monkeypatch.setattr(hooks, "run_shell", living.run_shell)
    monkeypatch.setattr(hooks, "end_left_over", living.end_left_over)
    logger = logging.getLogger("longshore")
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    gc.disable()
    yield
    gc.enable()
    logger.setLevel(level)
    logger.propagate = propagates
