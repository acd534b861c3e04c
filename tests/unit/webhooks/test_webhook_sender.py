"""Sending: until it arrives or is given up, whatever the receiver is like."""

from __future__ import annotations

import asyncio
import gzip
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.errors import LeaseLost
from longshore.fence import EpochFence, unfenced
from longshore.model import Delivery
from longshore.store import Store
from longshore.webhooks import sender as sending
from longshore.webhooks.desk import Desk
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook
from longshore.webhooks.sender import PAUSES_S, Sender
from support.makers import make_rollout, make_spec
from support.receiver import Receiver, dripping, endless, garbage, hanging, receiving, status
from support.shop import HandClock, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOWN = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hand clock's waits of a minute and more end when they are over, not before; attempts end soon."""
    monkeypatch.setattr(sending, "LOOK_S", 10.0**9)
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Post:
    """A store with an outbox and who may send from it."""

    store: Store
    clock: HandClock

    def outbox(self, *webhooks: Webhook) -> Outbox:
        return Outbox(self.store, self.clock, webhooks)

    @asynccontextmanager
    async def sender(self, *webhooks: Webhook, fence: Any = unfenced) -> AsyncIterator[Outbox]:
        outbox = self.outbox(*webhooks)
        task = asyncio.create_task(Sender(self.store, self.clock, outbox, webhooks, fence).run())
        try:
            yield outbox
            assert not task.done() or not task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def all(self, webhook: str = "chat") -> list[Delivery]:
        """Oldest first."""
        return self.store.deliveries(webhook, state=None, limit=500, offset=0)[0][::-1]

    @property
    def only(self) -> Delivery:
        (delivery,) = self.all()
        return delivery

    async def is_now(self, state: str) -> Delivery:
        await until(lambda: self.only.state == state, f"it is {state}")
        return self.only

    async def after(self, attempts: int) -> Delivery:
        """That many attempts later, with the clock moved on where one waits."""

        def tried() -> bool:
            if self.only.attempts < attempts and self.clock._sleepers and self.clock._sleepers[-1][0] > self.clock.time:
                self.clock.advance(self.only.next_at - self.clock.time)
            return self.only.attempts >= attempts

        await until(tried, f"there were {attempts} attempts")
        return self.only


@pytest_asyncio.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    clock = HandClock()
    store = Store(tmp_path / "longshore.db", clock)
    store.take_over()
    yield Post(store, clock)
    store.close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def chat(url: str, **fields: Any) -> Webhook:
    return Webhook(**{"name": "chat", "url": url, "events": ("*",), **fields})


def tell(outbox: Outbox, version: str = "1.0", deployment: str = "shop") -> None:
    spec = make_spec(version, name=deployment)
    outbox.tell(make_rollout(version, version, deployment=deployment, spec=spec), None)


# ------------------------------------------------------------------------------------------------- what arrives


async def test_a_message_arrives_signed_and_once(post: Post, receiver: Receiver) -> None:
    async with post.sender(chat(receiver.url, secret=SECRET)) as outbox:
        tell(outbox)
        (message,) = await receiver.arrived(1)
        delivered = await post.is_now("delivered")
    assert message.told == ("rollout.started", "1.0")
    assert (message.id, message.path) == (delivered.id, "/services/T0SECRETPATH")
    assert message.headers["content-type"] == "application/json"
    assert message.is_signed_with(SECRET)
    assert (delivered.attempts, delivered.answer, delivered.ended_at) == (1, "200 Because", post.clock.time)
    assert len(receiver.received) == 1


async def test_what_was_written_before_the_start_is_sent(post: Post, receiver: Receiver) -> None:
    tell(post.outbox(chat(receiver.url)))
    async with post.sender(chat(receiver.url)):
        await receiver.arrived(1)


async def test_messages_arrive_in_the_order_in_which_they_were_written(post: Post, receiver: Receiver) -> None:
    async with post.sender(chat(receiver.url)) as outbox:
        with post.store.transaction():
            for number in range(20):
                tell(outbox, str(number))
        received = await receiver.arrived(20)
    assert [message.told[1] for message in received] == [str(number) for number in range(20)]


async def test_an_answer_is_success_by_its_status_alone(post: Post, receiver: Receiver) -> None:
    async def no_body(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 Fine\r\nContent-Length: 99\r\n\r\n")
        await hanging(writer)

    receiver.answers = [no_body]
    async with post.sender(chat(receiver.url)) as outbox:
        tell(outbox)
        assert (await post.is_now("delivered")).answer == "204 Fine"


# ------------------------------------------------------------------------------------------------- what does not


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(500, "out of order"), "500 Because: out of order"),
        (status(404), "404 Because"),
        (status(302, location="http://127.0.0.1:1/"), "302 Because"),
        (hanging, "No answer within 0.3 s."),
        (dripping, "No answer within 0.3 s."),
        (endless, "500 No: " + "x" * 292),
        (garbage, "RemoteProtocolError"),
        (status(500, "\x1b[31m no \u00fc\r\nsecond"), "500 Because:  [31m no \u00fc  second"),
        (status(400, "no such hook: /services/T0SECRETPATH"), "400 Because: no such hook: /********/********"),
        (status(503, gzip.compress(b"0" * 10**6).decode("latin-1"), content_encoding="gzip"), "503 Because:"),
    ],
    ids=["500", "404", "302", "hanging", "dripping", "endless", "garbage", "escapes", "quoting", "packed"],
)
async def test_what_is_not_taken_is_told_and_tried_again(
    post: Post, receiver: Receiver, answer: Any, said: str
) -> None:
    receiver.answers = [answer]
    async with post.sender(chat(receiver.url)) as outbox:
        tell(outbox)
        await until(lambda: post.only.attempts, "it was tried")
        assert post.only.answer.startswith(said)
        assert len(post.only.answer) <= 300
        await post.is_now("delivered")
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 5


async def test_nobody_at_home_is_tried_for_a_day_in_growing_pauses_and_then_given_up(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    times = []
    async with post.sender(chat(DOWN)) as outbox:
        tell(outbox)
        for attempt in range(1, len(PAUSES_S) + 2):
            times.append((await post.after(attempt)).next_at - post.clock.time)
        dead = await post.is_now("dead")
    assert tuple(times[:-1]) == PAUSES_S == tuple(sorted(PAUSES_S))
    assert 24 <= sum(PAUSES_S) / 3600 <= 30
    assert (dead.attempts, dead.ended_at) == (len(PAUSES_S) + 1, post.clock.time)
    assert "ConnectError" in dead.answer
    assert [record.levelno for record in caplog.records if record.name == "longshore.webhooks"] == [
        logging.WARNING, logging.ERROR
    ]  # fmt: skip


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(post: Post, receiver: Receiver) -> None:
    receiver.answers = [status(410)]
    async with post.sender(chat(receiver.url)) as outbox:
        tell(outbox)
        assert (await post.is_now("dead")).attempts == 1


async def test_a_test_is_tried_once(post: Post) -> None:
    webhook = chat(DOWN)
    async with post.sender(webhook) as outbox:
        sent = Desk(post.store, post.clock, outbox, (webhook,)).test("chat", "ana")
        assert (sent.event, sent.state) == ("test", "pending")
        assert (await post.is_now("dead")).attempts == 1


async def test_a_dead_letter_that_is_sent_again_arrives(post: Post, receiver: Receiver) -> None:
    receiver.answers = [status(410)]
    webhook = chat(receiver.url)
    async with post.sender(webhook) as outbox:
        tell(outbox)
        dead = await post.is_now("dead")
        Desk(post.store, post.clock, outbox, (webhook,)).redeliver("chat", dead.id)
        assert (await post.is_now("delivered")).attempts == 1


async def test_a_secret_that_cannot_be_read_later_keeps_a_message_back_and_never_lets_it_go_unsigned(
    post: Post, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    async with post.sender(chat(receiver.url, secret_file=file)) as outbox:
        tell(outbox)
        await post.after(3)
        assert "its secret cannot be read" in post.only.answer
        assert receiver.received == []
        file.write_text(SECRET)
        await post.after(4)
    (message,) = receiver.received
    assert message.is_signed_with(SECRET)


# ------------------------------------------------------------------------------------------------- in order


async def test_a_message_that_failed_for_the_first_times_keeps_later_ones_of_its_deployment_behind_it(
    post: Post, receiver: Receiver
) -> None:
    receiver.answers = [status(503), status(200), status(503)]
    async with post.sender(chat(receiver.url)) as outbox:
        with post.store.transaction():
            tell(outbox, "1.0")
            tell(outbox, "2.0")
            tell(outbox, "7.0", "blog")
        await receiver.arrived(5)
    assert [message.told[1] for message in receiver.received] == ["1.0", "7.0", "1.0", "1.0", "2.0"]


async def test_a_message_that_is_refused_for_ever_does_not_keep_the_news_back(post: Post, receiver: Receiver) -> None:
    receiver.answers = [status(400), status(400), status(400)]
    async with post.sender(chat(receiver.url)) as outbox:
        tell(outbox, "1.0")
        await receiver.arrived(3)
        tell(outbox, "2.0")
        received = await receiver.arrived(4)
    assert received[3].told[1] == "2.0"


# ------------------------------------------------------------------------------------------------- others


async def test_no_receiver_waits_for_another_one(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 60.0)
    async with receiving() as slow:
        slow.otherwise = hanging
        hooks = [chat(slow.url, name=f"slow-{number}") for number in range(20)]
        async with post.sender(*hooks, chat(receiver.url)) as outbox:
            tell(outbox)
            await receiver.arrived(1)


async def test_the_sender_stops_at_once_while_a_receiver_hangs(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_S", 60.0)
    receiver.otherwise = hanging
    async with asyncio.timeout(30):
        async with post.sender(chat(receiver.url)) as outbox:
            tell(outbox)
            await receiver.arrived(1)
    assert (post.only.state, post.only.attempts) == ("pending", 0)


async def test_what_nobody_is_configured_for_is_given_up_and_can_be_sent_once_somebody_is(
    post: Post, receiver: Receiver
) -> None:
    old, new = chat(receiver.url, name="old"), chat(receiver.url)
    tell(post.outbox(old))
    async with post.sender(new):
        await until(lambda: post.all("old")[0].state == "dead", "it is given up")
    assert post.all("old")[0].answer == "The configuration has no such webhook."
    async with post.sender():
        pass
    async with post.sender(old) as outbox:
        Desk(post.store, post.clock, outbox, (old,)).redeliver("old", post.all("old")[0].id)
        await receiver.arrived(1)


async def test_a_manager_that_was_replaced_sends_nothing(post: Post, receiver: Receiver) -> None:
    path = post.store.db.path
    fence = EpochFence(path, post.store.db.epoch)
    outbox = post.outbox(chat(receiver.url))
    tell(outbox)
    successor = Store(path, post.clock)
    successor.take_over()
    task = asyncio.create_task(Sender(post.store, post.clock, outbox, (chat(receiver.url),), fence).run())
    async with asyncio.timeout(10):
        await task
    assert receiver.received == []
    successor.close()
    fence.close()


async def test_while_the_store_cannot_be_written_a_message_that_arrived_is_not_repeated(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failed = post.store.note_attempt, []

    def full(delivery: Delivery) -> None:
        if len(failed) < 3:
            failed.append(delivery)
            raise sqlite3.OperationalError("database or disk is full")
        write(delivery)

    monkeypatch.setattr(post.store, "note_attempt", full)
    async with post.sender(chat(receiver.url)) as outbox:
        tell(outbox)
        await post.is_now("delivered")
    assert (len(failed), [message.id for message in receiver.received]) == (3, [post.only.id])


async def test_a_clock_that_was_set_back_lengthens_no_pause(post: Post, receiver: Receiver) -> None:
    webhook = chat(receiver.url)
    outbox = post.outbox(webhook)
    tell(outbox, "fresh")
    tell(outbox, "tried", "blog")
    fresh, tried = post.all()
    post.store.note_attempt(replace(tried, attempts=1, next_at=post.clock.time + 5))
    post.clock.time -= 100 * 24 * 3600
    async with post.sender(webhook):
        received = await receiver.arrived(2)
    assert [message.id for message in received] == [fresh.id, tried.id]


async def test_the_fence_is_asked_before_each_attempt(post: Post, receiver: Receiver) -> None:
    lost: list[Callable[[], None]] = []

    def fence() -> None:
        if receiver.received:
            lost.append(fence)
            raise LeaseLost

    async with post.sender(chat(receiver.url), fence=fence) as outbox:
        tell(outbox, "1.0")
        await receiver.arrived(1)
        tell(outbox, "2.0")
        await until(lambda: lost, "the fence was asked")
    assert len(receiver.received) == 1
