"""What waits, supersedes and needs approval, with the manager killed before every write to the store, and now and then
again in the recovery: each request that was accepted ends in one rollout or one cancellation, and nothing waits for
nothing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from longshore.errors import InternalError
from longshore.model import Rollout, RolloutKind
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from support.engine import PORT, Killed, Lab, Machine, machine
from support.queueing import needs_approval

REPLICAS = 1
VERSIONS = ("1.0", "2.0", "3.0", "4.0")
ANA = Terms("ana", on_conflict="queue")
BEN = Terms("ben", on_conflict="supersede")
#: of how many writes of a recovery one is killed at; which one differs from run to run
STRIDE = 37
PATIENCE_S = 20.0

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Asking:
    """A manager that is asked, and remembers what it has accepted: id → version."""

    def __init__(self, lab: Lab, artifacts: Path) -> None:
        self.lab, self.artifacts = lab, artifacts
        self.accepted: dict[str, str] = {}

    async def deploy(self, version: str, terms: Terms) -> str:
        request = Request(
            {
                "name": "shop",
                "version": version,
                "artifact_path": str(self.artifacts / version),
                "command": "./run",
                "health_check_url": f"http://localhost:{PORT}/health",
                "replicas": REPLICAS,
            }
        )
        rollout = await self.lab.service.deploy(request, terms=terms)
        self.accepted[rollout.id] = version
        return rollout.id

    async def approve(self, id: str) -> None:
        await self.lab.service.approve("shop", id, terms=Terms("carl"))


Act = Callable[[Asking], Awaitable[None]]


async def queue(asking: Asking) -> None:
    for version in ("2.0", "3.0"):
        await asking.deploy(version, ANA)


async def supersede(asking: Asking) -> None:
    await asking.deploy("2.0", ANA)
    await asking.deploy("3.0", ANA)
    await asking.deploy("4.0", BEN)


async def approve(asking: Asking) -> None:
    needs_approval(asking.lab)
    await asking.approve(await asking.deploy("2.0", ANA))
    await asking.approve(await asking.deploy("3.0", BEN))


async def roll_back(asking: Asking) -> None:
    await asking.deploy("2.0", ANA)
    await asking.deploy("3.0", ANA)
    rollout = await asking.lab.service.rollback("shop", None, terms=ANA)
    asking.accepted[rollout.id] = "1.0"


#: what is done → what may serve in the end. A manager that is killed before a commit undoes that rollout.
ACTS: dict[str, tuple[Act, set[str]]] = {
    "queue": (queue, {"1.0", "2.0", "3.0"}),
    "supersede": (supersede, {"1.0", "3.0", "4.0"}),
    "approve": (approve, {"1.0", "2.0", "3.0"}),
    "roll-back": (roll_back, {"1.0", "2.0", "3.0"}),
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifacts")
    for version in VERSIONS:
        (root / version).mkdir()
        (root / version / "run").write_text(version)
        (root / version / "run").chmod(0o755)
    return root


@pytest.mark.parametrize("name", ACTS)
def test_what_was_accepted_ends_in_one_rollout_or_one_cancellation(name: str, tmp_path: Path, artifacts: Path) -> None:
    act, ends = ACTS[name]

    async def every() -> int:
        base = await prepared(tmp_path / "base.db", artifacts)
        first, runs, ended = 0, 0, set[str]()
        while True:
            first += 1
            asking = Asking(Lab(base.copy(tmp_path / "first.db"), kill_at=first), artifacts)
            await asked(asking, act)
            again = first % STRIDE
            while True:
                again += STRIDE
                second = Lab(asking.lab.machine.copy(tmp_path / "second.db"), kill_at=again)
                await go_on(second)
                third = Lab(second.machine)
                await go_on(third)
                assert not third.dead
                where = f"killed at {first} and {again}"
                if name == "approve":
                    await approve_all(third)
                    approved = {rollout.approved_by for rollout in rollouts(third) if rollout.number > 1}
                    assert approved <= {"carl"}, where
                assert_at_rest(third, asking.accepted, where)
                ended.add(third.assert_settled(replicas=REPLICAS))
                third.close()
                second.store.close()
                remove(tmp_path / "second.db")
                runs += 1
                if not second.dead:
                    break
            asking.lab.close()
            remove(tmp_path / "first.db")
            if not asking.lab.dead:
                break
        assert {"1.0"} < ended <= ends
        return runs

    gc.disable()  # tasks of killed managers are garbage by the thousand: collected once, not on and on
    logging.disable()  # some hundred thousand lines that nobody reads
    try:
        runs = asyncio.run(every())
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()
    print(f"{name}: {runs} runs")
    assert runs > 20


async def prepared(data: Path, artifacts: Path) -> Machine:
    """A machine on which 1.0 serves, after itself, so that it can be rolled back."""
    start = machine(data)
    start.shared = True  # the dead manager's connection is still there when the next one opens its own
    lab = Lab(start)
    await lab.deploy(artifacts / "1.0", "1.0", strategy="rolling", replicas=REPLICAS)
    lab.close()
    return start


async def asked(asking: Asking, act: Act) -> None:
    """Ask, and let it all come to its end, or the manager be killed."""
    try:
        await act(asking)
    except (Killed, BaseExceptionGroup):
        assert asking.lab.dead
    except InternalError:
        # A killed manager's task that another one waited for.
        assert asking.lab.dead
    await at_rest(asking.lab)


async def go_on(lab: Lab) -> None:
    """As at the start of a manager."""
    if await lab.recover():
        lab.world.look_at_queue(None)
    await at_rest(lab)


async def at_rest(lab: Lab) -> None:
    """Until nothing is in progress and nothing is in line, or the manager is dead."""
    ends = time.monotonic() + PATIENCE_S
    while not lab.dead and (lab.store.open_rollouts() or lab.service._queue._line("shop")):
        assert time.monotonic() < ends, f"not at rest: {lab.store.open_rollouts()}, {lab.store.waiting_of('shop')}"
        await asyncio.sleep(0)


async def approve_all(lab: Lab) -> None:
    for waiting in lab.store.waiting_of("shop"):
        await lab.service.approve("shop", waiting.id, terms=Terms("carl"))
    await at_rest(lab)


def assert_at_rest(lab: Lab, accepted: dict[str, str], where: str) -> None:
    assert lab.store.who_waits() == [], where
    assert all(rollout.status.is_over for rollout in rollouts(lab)), where
    cancelled = {row["id"] for row in lab.store.db.all("SELECT id FROM waiting WHERE ended_at IS NOT NULL")}
    begun = {rollout.id for rollout in rollouts(lab)}
    assert not begun & cancelled, where
    assert set(accepted) <= begun | cancelled, where
    deploys = [rollout.version for rollout in rollouts(lab) if rollout.kind is RolloutKind.deploy]
    assert deploys == sorted(set(deploys)), f"{where}: not first come, first served: {deploys}"


def rollouts(lab: Lab) -> list[Rollout]:
    """Oldest first."""
    return lab.store.rollouts("shop", limit=100, offset=0)[0][::-1]


def remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
