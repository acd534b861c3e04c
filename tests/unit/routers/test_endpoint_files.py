"""Files for a balancer: written, read by it, remembered; and put back where it does not take them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from longshore.errors import LeaseLost
from longshore.fence import unfenced
from longshore.routers.base import RouterError, Target, TargetPool, Traffic
from longshore.routers.endpoints.files import EndpointFiles, Published
from longshore.routers.none import NoneRouter
from support.launching import until


def serving(*ports: int) -> Traffic:
    return Traffic(8080, TargetPool("aaaaaaa1", tuple(Target("127.0.0.1", port, f"shop-{port}") for port in ports)))


ONE, TWO = serving(20001), serving(20002)


class FakeClock:
    """Time that passes only in sleep()."""

    time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Balancer:
    """A directory with the files, and a reload command that writes down what it found, or fails while `refuse`
    exists, or waits while `wait` does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc").mkdir()
        self.reads = root / "reads"
        self.refuse, self.wait, self.waits = root / "refuse", root / "wait", root / "waits"

    def published(self, **changes: object) -> Published:
        refused = f'[ -e {self.refuse} ] && grep -q "$(cat {self.refuse})" "$ENDPOINTS_FILE"'
        command = (
            f"while [ -e {self.wait} ]; do touch {self.waits}; sleep 0.02; done; "
            f"if {refused}; then echo bad server; exit 3; fi; "
            f'echo $(grep -o "shop-2000." "$ENDPOINTS_FILE") >> {self.reads}'
        )
        given = {"file": f"{self.root}/etc/{{name}}.cfg", "format": "haproxy", "reload": command, "timeout_s": 20.0}
        return Published(**{**given, "variables": {"PATH": "/usr/bin:/bin"}, **changes})  # type: ignore[arg-type]

    def files(self, fence: Callable[[], None] = unfenced, **changes: object) -> EndpointFiles:
        """Those of a manager that has just been started."""
        return EndpointFiles(self.published(**changes), self.root / "records", fence)

    @property
    def file(self) -> Path:
        return self.root / "etc" / "shop.cfg"

    def has_read(self) -> list[str]:
        """The instances that it found each time it was told to read."""
        return [line.strip() for line in self.reads.read_text().splitlines()] if self.reads.exists() else []


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    return Balancer(tmp_path)


async def test_what_is_published_is_written_and_read(balancer: Balancer) -> None:
    assert await balancer.files().publish("shop", ONE)
    assert "127.0.0.1:20001" in balancer.file.read_text()
    assert balancer.has_read() == ["shop-20001"]


async def test_what_is_published_already_is_neither_written_nor_read_again(balancer: Balancer) -> None:
    files = balancer.files()
    await files.publish("shop", ONE)
    written = balancer.file.stat().st_ino
    assert not await files.publish("shop", ONE)
    assert not await balancer.files().publish("shop", ONE)
    assert (balancer.file.stat().st_ino, balancer.has_read()) == (written, ["shop-20001"])


async def test_only_what_was_read_is_held(balancer: Balancer) -> None:
    files = balancer.files()
    assert not await files.holds("shop", ONE)
    await files.publish("shop", ONE)
    assert await files.holds("shop", ONE)
    assert not await files.holds("shop", TWO)


async def test_a_file_that_the_balancer_refuses_is_put_back_and_read_again(balancer: Balancer) -> None:
    files = balancer.files()
    await files.publish("shop", ONE)
    before = balancer.file.read_text()
    balancer.refuse.write_text("20002")
    with pytest.raises(RouterError, match=r"exited with code 3: bad server\. .*shop\.cfg is again as it was"):
        await files.publish("shop", TWO)
    assert balancer.file.read_text() == before
    assert balancer.has_read() == ["shop-20001", "shop-20001"]
    assert await files.holds("shop", ONE)


async def test_a_first_file_that_is_refused_is_gone_again(balancer: Balancer) -> None:
    balancer.refuse.write_text("20001")
    with pytest.raises(RouterError, match="bad server"):
        await balancer.files().publish("shop", ONE)
    assert not balancer.file.exists()


async def test_a_balancer_that_takes_neither_file_is_told_of_in_one_sentence(balancer: Balancer) -> None:
    files = balancer.files()
    await files.publish("shop", ONE)
    balancer.refuse.write_text("2000.")
    with pytest.raises(RouterError, match="cannot be read either"):
        await files.publish("shop", TWO)
    assert not await files.holds("shop", ONE)
    balancer.refuse.unlink()
    await files.publish("shop", ONE)
    assert balancer.has_read()[-1] == "shop-20001"


async def test_a_reload_that_hangs_is_ended_and_named(balancer: Balancer) -> None:
    balancer.wait.touch()
    with pytest.raises(RouterError, match="did not end within 500ms and was killed"):
        await balancer.files(timeout_s=0.5).publish("shop", ONE)


async def test_a_manager_that_is_stopped_before_the_reload_has_its_successor_reload(balancer: Balancer) -> None:
    await balancer.files().publish("shop", ONE)
    balancer.wait.touch()
    publishing = asyncio.ensure_future(balancer.files().publish("shop", TWO))
    await until(balancer.waits.exists, "the reload has begun")
    publishing.cancel()
    await asyncio.wait({publishing})
    balancer.wait.unlink()
    assert "20002" in balancer.file.read_text()
    assert not await balancer.files().holds("shop", TWO)
    await balancer.files().publish("shop", TWO)
    assert balancer.has_read() == ["shop-20001", "shop-20002"]


async def test_going_back_after_an_interrupted_reload_reads_what_was_there_before(balancer: Balancer) -> None:
    """The balancer may have read the new file before the manager was killed, so the old one is not taken for read."""
    await balancer.files().publish("shop", ONE)
    balancer.wait.touch()
    publishing = asyncio.ensure_future(balancer.files().publish("shop", TWO))
    await until(balancer.waits.exists, "the reload has begun")
    publishing.cancel()
    await asyncio.wait({publishing})
    balancer.wait.unlink()
    await balancer.files().publish("shop", ONE)
    assert balancer.has_read() == ["shop-20001", "shop-20001"]


@pytest.mark.parametrize("changes", [{"reload": "true"}, {"format": "nginx"}, {"file": "etc/other-{name}.cfg"}])
async def test_what_is_configured_in_another_way_is_read_anew(balancer: Balancer, changes: dict[str, str]) -> None:
    await balancer.files().publish("shop", ONE)
    changes = {key: text.replace("etc/", f"{balancer.root}/etc/") for key, text in changes.items()}
    assert await balancer.files(**changes).publish("shop", ONE)


@pytest.mark.parametrize("content", ["", "\n", "# Written by Longshore\nbackend shop\n"])
async def test_a_file_that_was_made_for_the_balancer_to_start_with_is_replaced(
    balancer: Balancer, content: str
) -> None:
    balancer.file.write_text(content)
    assert await balancer.files().publish("shop", ONE)


async def test_a_file_of_somebody_else_is_never_replaced(balancer: Balancer) -> None:
    content = "frontend mine\n"
    balancer.file.write_text(content)
    with pytest.raises(RouterError, match="was not written by Longshore: move it away"):
        await balancer.files().publish("shop", ONE)
    assert balancer.file.read_text() == content


async def test_a_directory_that_is_missing_is_named(balancer: Balancer) -> None:
    files = balancer.files(file=f"{balancer.root}/nowhere/{{name}}.cfg")
    assert not files.fingerprint().usable
    with pytest.raises(RouterError, match=r"there is no directory .*/nowhere"):
        await files.publish("shop", ONE)


async def test_a_file_without_a_command_is_written(balancer: Balancer) -> None:
    assert await balancer.files(reload="").publish("shop", ONE)
    assert await balancer.files(reload="").holds("shop", ONE)


async def test_what_is_given_up_lists_nobody_and_stays(balancer: Balancer) -> None:
    files = balancer.files()
    await files.publish("shop", ONE)
    await files.give_up("shop")
    assert "backend shop" in balancer.file.read_text()
    assert "server" not in balancer.file.read_text()
    assert (balancer.has_read(), files.known()) == (["shop-20001", ""], [])
    await files.give_up("shop")
    assert len(balancer.has_read()) == 2


async def test_a_manager_that_was_replaced_changes_nothing(balancer: Balancer) -> None:
    await balancer.files().publish("shop", ONE)

    def lost() -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        await balancer.files(lost).publish("shop", TWO)
    assert "20001" in balancer.file.read_text()
    assert balancer.has_read() == ["shop-20001"]


async def test_two_deployments_are_published_one_after_the_other(balancer: Balancer) -> None:
    files = balancer.files()
    await asyncio.gather(files.publish("shop", ONE), files.publish("api", TWO))
    assert sorted(balancer.has_read()) == ["shop-20001", "shop-20002"]


# ------------------------------------------------------------------------------------------------ the router


async def test_a_restored_router_reads_again_only_what_was_not_read(balancer: Balancer) -> None:
    await NoneRouter(balancer.files()).restore({"shop": ONE})
    router = NoneRouter(balancer.files())
    await router.restore({"shop": ONE})
    assert balancer.has_read() == ["shop-20001"]
    assert await router.verify("shop", ONE)


async def test_a_restored_router_tells_of_what_it_cannot_publish_and_goes_on(balancer: Balancer) -> None:
    events: list[tuple[str, str]] = []
    balancer.refuse.write_text("20001")
    router = NoneRouter(balancer.files(), on_event=lambda *event: events.append(event))
    await router.restore({"shop": ONE, "api": TWO})
    assert [type for type, _ in events] == ["error"]
    assert "endpoints of shop: the reload command" in events[0][1]
    assert await router.verify("api", TWO)


async def test_a_deployment_that_is_gone_is_taken_out_when_a_manager_starts(balancer: Balancer) -> None:
    await NoneRouter(balancer.files()).restore({"shop": ONE, "api": TWO})
    events: list[tuple[str, str]] = []
    await NoneRouter(balancer.files(), on_event=lambda *event: events.append(event)).restore({"api": TWO})
    assert "server" not in balancer.file.read_text()
    assert [type for type, _ in events] == ["warning"]


async def test_a_manager_that_knows_no_deployment_leaves_the_files_as_they_are(balancer: Balancer) -> None:
    await NoneRouter(balancer.files()).restore({"shop": ONE})
    events: list[tuple[str, str]] = []
    await NoneRouter(balancer.files(), on_event=lambda *event: events.append(event)).restore({})
    assert "20001" in balancer.file.read_text()
    assert [type for type, _ in events] == ["error"]


async def test_a_change_is_in_effect_once_the_balancer_had_time_to_follow() -> None:
    clock = FakeClock()
    router = NoneRouter(settle_s=2.0, clock=clock)
    await router.apply("shop", ONE)
    assert clock.time == pytest.approx(102.0)
    await router.apply("shop", ONE)
    await router.drained("shop", (), 30.0)
    assert clock.time == pytest.approx(102.0)
    await router.apply("shop", TWO)
    assert clock.time == pytest.approx(104.0)


async def test_a_change_that_an_earlier_manager_may_just_have_made_is_waited_for() -> None:
    clock = FakeClock()
    router = NoneRouter(settle_s=2.0, clock=clock)
    await router.restore({"shop": ONE, "api": TWO})
    assert clock.time == pytest.approx(100.0)
    await router.apply("shop", ONE)
    assert clock.time == pytest.approx(102.0)


async def test_what_left_by_a_removal_is_drained_once_the_balancer_had_time_to_follow() -> None:
    clock = FakeClock()
    router = NoneRouter(settle_s=2.0, clock=clock)
    await router.apply("shop", ONE)
    await router.remove("shop", 30.0)
    assert clock.time == pytest.approx(102.0)
    assert await router.drained("shop", (Target("127.0.0.1", 20001),), 30.0) == frozenset()
    assert clock.time == pytest.approx(104.0)


async def test_the_time_to_follow_is_bounded_by_the_time_to_drain() -> None:
    clock = FakeClock()
    router = NoneRouter(settle_s=60.0, clock=clock)
    await router.restore({"shop": ONE})
    await router.drained("shop", (), 1.0)
    assert clock.time == pytest.approx(101.0)
