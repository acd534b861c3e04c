"""What a rollout looks like on a terminal."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from longshore.cli.live import WIDTH, Picture, bar
from longshore.client.results import Instance, Instances, Progress, Share

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Screen:
    def __init__(self, height=40, width=110):
        self.out = io.StringIO()
        self.console = Console(file=self.out, height=height, width=width, color_system=None)
        self.picture = Picture(self.console, "shop 2.0")

    def hear(self, step, status="running", message="", pct=40, seq=1):
        told = Progress(step=step, status=status, message=message, progress_pct=pct, timestamp=AT, seq=seq)
        self.picture.hear(told)

    def see(self, *instances, traffic=()):
        self.picture.see(Instances(deployment="shop", revision="a", traffic=traffic, instances=instances))

    def lines(self):
        self.console.print(self.picture)
        return [line.rstrip() for line in self.out.getvalue().splitlines()]


@pytest.fixture
def screen():
    return Screen()


def instance(number, slot, state, version="2.0", **more):
    return Instance(id=f"shop-{number}-{slot}", version=version, state=state, **more)


def test_a_step_that_ended_is_a_line_with_its_time(screen):
    screen.hear("fetch_artifact")
    screen.hear("fetch_artifact", "success")
    assert screen.lines()[0].startswith("✓ fetch_artifact  0 ms")


def test_a_warning_says_why(screen):
    screen.hear("post_deploy_hooks", "warning", "hook 1 exited with code 3")
    assert screen.lines()[0].endswith("hook 1 exited with code 3")


def test_the_whole_has_a_bar_with_its_percentage_and_the_step(screen):
    screen.hear("await_ready", message="wait until 3 instances are ready", pct=50)
    (line,) = screen.lines()
    assert "█" * (WIDTH // 2) + "░" * (WIDTH // 2) in line
    assert "50 %" in line
    assert "await_ready: wait until 3" in line


def test_each_instance_has_a_bar_and_its_state_new_ones_first(screen):
    screen.see(instance(1, 0, "draining", "1.0"), instance(2, 1, "healthy"), instance(2, 0, "starting", message="503"))
    ids = [line.split()[0] for line in screen.lines()[2:]]
    assert ids == ["shop-2-0", "shop-2-1", "shop-1-0"]
    said = [line.split("░")[-1].split("█")[-1].split() for line in screen.lines()[2:5]]
    assert said == [["2.0", "starting", "503"], ["2.0", "healthy"], ["1.0", "draining"]]


def test_an_instance_that_is_gone_has_stopped(screen):
    screen.see(instance(1, 0, "draining", "1.0"))
    screen.see(instance(2, 0, "healthy"))
    assert screen.lines()[-1].split()[-2:] == ["1.0", "stopped"]


def test_the_traffic_bar_shows_both_shares(screen):
    stable, candidate = (("stable", "1.0", 70), ("candidate", "2.0", 30))
    shares = [Share(pool=pool, version=version, weight=weight) for pool, version, weight in (stable, candidate)]
    screen.see(traffic=shares)
    line = screen.lines()[1]
    assert "█" * 9 + "▒" * 21 in line
    assert line.endswith("2.0 30 % · 1.0 70 %")


def test_traffic_that_nobody_gets_is_said(screen):
    screen.see()
    assert screen.lines()[1].endswith("nobody gets requests")


def test_more_instances_than_fit_are_counted():
    screen = Screen(height=15)
    screen.see(*(instance(2, slot, "healthy") for slot in range(100)))
    assert screen.lines()[-1] == "… and 95 more"


def test_a_long_message_is_cut_and_does_not_push_the_bars_down():
    screen = Screen(width=80)
    screen.hear("watch_canary_25", message="x" * 500)
    screen.see(instance(2, 0, "healthy"))
    whole, _, one = screen.lines()
    assert (len(whole), whole[-1]) == (79, "…")
    assert one.split() == ["shop-2-0", "█" * WIDTH, "2.0", "healthy"]


@pytest.mark.parametrize(("share", "full"), [(0, 0), (0.5, WIDTH // 2), (1, WIDTH), (2, WIDTH)])
def test_a_bar_is_as_full_as_its_share(share, full):
    assert bar((share, "")).plain == "█" * full + "░" * (WIDTH - full)
