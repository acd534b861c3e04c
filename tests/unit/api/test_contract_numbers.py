"""Numbers that the contract names and no other test waits for."""

from __future__ import annotations

from longshore.api import server
from longshore.api.settings import ApiSettings
from longshore.model import Spec
from support.api_client import app_of
from support.fake_service import FakeService


def test_a_watcher_may_wait_60_seconds_for_a_rollout_to_begin() -> None:
    assert ApiSettings().progress_wait == 60


def test_watchers_are_pinged() -> None:
    config = server.build(app_of(FakeService())).config
    assert config.ws_ping_interval
    assert config.ws_ping_timeout


def test_a_hook_has_5_minutes_by_default() -> None:
    assert Spec("shop", "1", "/a").hook_timeout == 300


def test_a_failed_rollout_is_rolled_back_by_default() -> None:
    assert Spec("shop", "1", "/a").rollback_on_failure is True


def test_a_body_may_be_1_mib_long() -> None:
    assert ApiSettings().max_body == 1024 * 1024
