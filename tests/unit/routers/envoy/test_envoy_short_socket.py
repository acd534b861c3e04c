"""The short directory that a deep one's socket needs: there while an Envoy may listen in it, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from longshore.routers.envoy.router import EnvoyRouter
from longshore.routers.envoy.socket_path import forget_socket, socket_path


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    directory = tmp_path / ("d" * 90)
    directory.mkdir(mode=0o700)
    return directory


async def test_a_router_that_never_started_envoy_leaves_no_directory_behind(deep: Path) -> None:
    router = EnvoyRouter(deep, on_event=lambda type, message: None)
    short = router._admin.path.parent
    assert short != deep
    assert short.is_dir()
    await router.restore({})
    await router.close()
    assert not short.exists()


def test_a_socket_that_was_forgotten_comes_back_where_it_was(deep: Path) -> None:
    path = socket_path(deep)
    forget_socket(deep, path)
    forget_socket(deep, path)
    assert not path.parent.exists()
    assert socket_path(deep) == path
    forget_socket(deep, path)


def test_a_directory_that_is_not_too_deep_keeps_its_socket_to_itself(tmp_path: Path) -> None:
    forget_socket(tmp_path, tmp_path / "admin.sock")
    assert tmp_path.is_dir()
