"""A real manager that tells a real receiver: which is down at first, while the manager is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.client import AsyncLongshore
from support.managers import RealManager
from support.receiver import Receiver, hanging, receiving, status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class TellingManager(RealManager):
    webhooks: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"LONGSHORE_WEBHOOKS": self.webhooks}


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def manager(tmp_path: Path, receiver: Receiver) -> Any:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "secret").write_text(SECRET + "\n")
    real = TellingManager(tmp_path / "data")
    hook = {"name": "chat", "url": receiver.url, "events": ["*"], "secret_file": str(tmp_path / "secret")}
    real.webhooks = json.dumps([hook])
    real.start()
    yield real
    real.end(signal.SIGTERM)


async def deploy(manager: RealManager, tmp_path: Path, version: str) -> None:
    artifact = tmp_path / f"app-{version}"
    artifact.mkdir()
    (artifact / "page.txt").write_text(version)
    async with AsyncLongshore(data_dir=manager.data_dir) as client:
        await client.deploy(name="pages", version=version, artifact_path=str(artifact), timeout=30)


async def until_state(manager: RealManager, id: str, state: str) -> Any:
    async with asyncio.timeout(20), AsyncLongshore(data_dir=manager.data_dir) as client:
        while (delivery := await client.delivery("chat", id)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return delivery


async def test_what_happened_while_the_receiver_was_down_and_the_manager_killed_is_told_in_order_and_signed(
    manager: TellingManager, receiver: Receiver, tmp_path: Path
) -> None:
    await receiver.stop()
    await deploy(manager, tmp_path, "1.0")
    manager.end(signal.SIGKILL)
    await receiver.start()
    await asyncio.to_thread(manager.start)
    await deploy(manager, tmp_path, "1.1")

    await receiver.arrived(4, bound_s=30)
    assert receiver.told == [
        ("rollout.started", "1.0"),
        ("rollout.succeeded", "1.0"),
        ("rollout.started", "1.1"),
        ("rollout.succeeded", "1.1"),
    ]
    assert all(message.is_signed_with(SECRET) for message in receiver.received)

    receiver.answers = [status(410, "not here: /services/T0SECRETPATH")]
    tried = await asyncio.to_thread(manager.run, "webhooks", "test", "chat")
    assert (tried.returncode, tried.stdout) == (1, "chat: 410 Because: not here: /********/********\n")
    again = await asyncio.to_thread(manager.run, "webhooks", "redeliver", "chat", "--dead", "--json")
    (dead,) = json.loads(again.stdout)["deliveries"]
    await until_state(manager, dead["id"], "delivered")
    assert receiver.received[-1].id == receiver.received[-2].id == dead["id"]

    shown = [
        await asyncio.to_thread(manager.run, *line.split())
        for line in ("webhooks", "webhooks --json", "webhooks deliveries chat --json", "config", "config --json")
    ]
    shown_text = "".join(answer.stdout + answer.stderr for answer in shown) + (tmp_path / "serve.log").read_text()
    assert "T0SECRETPATH" not in shown_text
    assert SECRET not in shown_text


async def test_a_receiver_that_hangs_slows_neither_a_rollout_nor_the_end_of_the_manager(
    manager: TellingManager, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.otherwise = hanging
    began = time.monotonic()
    await deploy(manager, tmp_path, "1.0")
    assert time.monotonic() - began < 5
    await receiver.arrived(1)
    began = time.monotonic()
    await asyncio.to_thread(manager.end, signal.SIGTERM)
    assert time.monotonic() - began < 3
    assert manager.process is not None
    assert manager.process.returncode == 0


async def test_a_secret_file_that_is_not_there_keeps_a_manager_from_starting(
    manager: TellingManager, tmp_path: Path
) -> None:
    manager.end(signal.SIGTERM)
    (tmp_path / "secret").unlink()
    with pytest.raises(AssertionError, match="the secret_file of chat cannot be used"):
        await asyncio.to_thread(manager.start)
