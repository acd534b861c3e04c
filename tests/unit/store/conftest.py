from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.store import Store
from support.engine import Clock
from support.makers import make_deployment


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """One that a manager has taken over, with the deployment shop in it."""
    store = Store(tmp_path / "longshore.db", Clock())
    store.take_over()
    store.save_deployment(make_deployment())
    yield store
    store.close()
