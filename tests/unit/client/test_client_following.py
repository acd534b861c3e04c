"""Streams that go on over lost connections, as flows: no connection, no clock."""

import asyncio
import json
from datetime import datetime

import pytest

from longshore.client import (
    AsyncLongshore,
    ConnectionLost,
    DeploymentNotFound,
    Longshore,
    ManagerUnreachable,
    following,
)
from longshore.client.decode import decode
from longshore.client.effects import ChannelClosed, Event, Open
from longshore.client.following import Seen
from longshore.client.results import LogLine
from support.fake_manager import TIME, Answer, event, rollout
from support.playing import play

LOST = ConnectionLost("http://m", "reset")
GONE = ManagerUnreachable("http://m", "refused")
END = Event("{}", "end")
OPENED = None


def line(text, second, instance="shop-1-0"):
    moment = f"2026-03-01T12:{int(second // 60):02}:{second % 60:06.3f}Z"
    body = {"instance": instance, "line": text, "time": moment, "earliest": moment}
    return Event(json.dumps(body))


def happened(number):
    return Event(json.dumps(event(f"event {number}", number=number)), "event", str(number))


def logs(**changes):
    asked = {"name": "shop", "instance": None, "tail": None, "since": None, "patience_s": 5.0}
    return following.follow_logs(**asked | changes)


def opened(asked):
    return [effect for effect in asked if isinstance(effect, Open)]


def texts(emitted):
    return [each.line for each in emitted]


def test_logs_are_followed_until_the_stream_says_that_it_is_over():
    _, asked, emitted = play(logs(), OPENED, line("a", 1), line("b", 2), END)
    assert texts(emitted) == ["a", "b"]
    assert opened(asked)[0].params == {"follow": "true", "tail": 10}


def test_a_follower_is_told_of_what_cannot_be_read_now():
    told = []
    problem = Event('{"instance": "shop-1-0", "message": "host web1: lost; it is tried again"}', "problem")
    _, _, emitted = play(logs(on_problem=told.append), OPENED, problem, line("a", 1), END)
    assert [(each.instance, each.message) for each in told] == [("shop-1-0", "host web1: lost; it is tried again")]
    assert texts(emitted) == ["a"]


def test_a_follower_who_says_since_gets_all_of_it():
    _, asked, _ = play(logs(since="10m"), OPENED, END)
    assert opened(asked)[0].params == {"follow": "true", "since": "10m"}


@pytest.mark.parametrize("end", [LOST, ChannelClosed()], ids=["lost", "the manager leaves"])
def test_a_lost_stream_of_logs_is_opened_again_where_it_was(end):
    again = [line("a", 1), line("b", 2), line("c", 3), END]
    _, asked, emitted = play(logs(), OPENED, line("a", 1), line("b", 2), end, GONE, OPENED, *again)
    assert texts(emitted) == ["a", "b", "c"]
    assert "since" in opened(asked)[2].params


def test_what_was_never_opened_is_not_tried_again():
    with pytest.raises(ManagerUnreachable):
        play(logs(), GONE)
    with pytest.raises(DeploymentNotFound):
        play(logs(), DeploymentNotFound(404, "DEPLOYMENT_NOT_FOUND", "none"))


def test_a_deployment_that_was_deleted_meanwhile_ends_it():
    _, _, emitted = play(logs(), OPENED, line("a", 1), LOST, DeploymentNotFound(404, "DEPLOYMENT_NOT_FOUND", "none"))
    assert texts(emitted) == ["a"]


def test_a_manager_that_does_not_come_back_is_given_up():
    with pytest.raises(ConnectionLost):
        play(logs(patience_s=0.0), OPENED, line("a", 1), LOST)


def test_events_are_resumed_after_the_last_one():
    flow = following.follow_events("shop", None, 5.0)
    begin = Event("{}", "begin", "7")
    _, asked, emitted = play(flow, OPENED, begin, LOST, OPENED, begin, happened(8), LOST, OPENED, happened(9), END)
    assert [each.id for each in emitted] == [8, 9]
    assert [each.headers for each in opened(asked)] == [{}, {"Last-Event-ID": "7"}, {"Last-Event-ID": "8"}]


def test_events_of_all_deployments_come_from_one_stream():
    _, asked, emitted = play(following.follow_events(None, 3, 5.0), OPENED, happened(4), Event("{}", "progress"), END)
    assert [each.message for each in emitted] == ["event 4"]
    assert (opened(asked)[0].path, opened(asked)[0].headers) == ("/api/v1/events", {"Last-Event-ID": "3"})


def test_the_output_of_hooks_begins_anew_without_what_was_read():
    def said(text):
        return Event(json.dumps({"phase": "pre_deploy", "line": text}))

    flow = following.follow_hooks("shop", "r-2", 1000, 5.0)
    _, _, emitted = play(flow, OPENED, said("a"), said("b"), LOST, OPENED, said("a"), said("b"), said("c"), END)
    assert texts(emitted) == ["a", "b", "c"]


class Reader:
    """Seen, with a clock, and times of lines in seconds."""

    def __init__(self):
        self.now = 1000.0
        self.seen = Seen(lambda: self.now)

    def read(self, *lines, exact=0.0):
        found = []
        for text, second in lines:
            told = json.loads(line(text, second).data)
            told["earliest"] = json.loads(line(text, second - exact).data)["time"]
            found += [each.line for each in self.seen.take(decode(LogLine, told))]
        return found


def test_nothing_is_resumed_where_nothing_was_read():
    assert Seen().resume() is None


def test_lines_of_little_exactness_are_known_again_by_what_they_say():
    reader = Reader()
    reader.read(("a", 10), ("b", 11), ("c", 12), exact=2.0)
    reader.seen.resume()
    assert reader.read(("older", 9), ("b", 11), ("c", 12), ("d", 13), exact=2.0) == ["d"]


def test_lines_that_only_begin_like_known_ones_are_all_new():
    reader = Reader()
    reader.read(("a", 10), ("b", 11))
    reader.seen.resume()
    assert reader.read(("b", 11), ("b", 12), ("x", 13), exact=1.5) == ["b", "x"]


def test_a_line_like_the_last_one_but_newer_is_new():
    reader = Reader()
    reader.read(("b", 11))
    reader.seen.resume()
    assert reader.read(("b", 12)) == ["b"]


def test_a_line_like_an_old_one_written_while_no_manager_ran_is_new():
    reader = Reader()
    reader.read(("b", 11))
    reader.now += 100
    assert reader.seen.resume() > "2026-03-01T12:01:00"
    assert reader.read(("b", 115), exact=110) == ["b"]


def test_an_instance_nobody_had_read_is_new_after_a_lost_connection():
    reader = Reader()
    reader.read(("a", 10))
    reader.seen.resume()
    new = json.loads(line("hello", 12, "shop-2-0").data)
    assert [each.line for each in reader.seen.take(decode(LogLine, new))] == ["hello"]


def test_an_instance_that_was_behind_is_asked_for_from_where_it_was():
    reader = Reader()
    reader.read(("live", 50))
    assert reader.seen.resume() > "2026-03-01T12:00:39"
    reader.seen.take(LogLine(**_decoded(line("late", 5, "shop-1-1"))))
    assert reader.seen.resume() < "2026-03-01T12:00:05"


def _decoded(event):
    body = json.loads(event.data)
    return body | {"time": datetime.fromisoformat(body["time"]), "earliest": datetime.fromisoformat(body["earliest"])}


# ------------------------------------------------------------------------------------------- both clients alike


@pytest.fixture(params=["sync", "async"])
def ask(request, manager):
    """The answer of a method of either client; of one that follows, all that it gives."""

    def sync(method, *args, **kwargs):
        with Longshore(manager.url, "secret", patience=5.0) as client:
            answer = getattr(client, method)(*args, **kwargs)
            return list(answer) if method.startswith("follow_") else answer

    async def awaited(method, *args, **kwargs):
        async with AsyncLongshore(manager.url, "secret", patience=5.0) as client:
            answer = getattr(client, method)(*args, **kwargs)
            return [each async for each in answer] if method.startswith("follow_") else await answer

    return sync if request.param == "sync" else lambda *args, **kwargs: asyncio.run(awaited(*args, **kwargs))


def test_logs_since_a_time_a_duration_or_seconds_are_asked_for_as_the_api_reads_them(ask, manager):
    manager.on("GET", "/shop/logs", Answer(body={"lines": [{"instance": "shop-1-0", "line": "hello", "time": TIME}]}))
    moment = datetime.fromisoformat(TIME)
    assert ask("logs", "shop", since=moment).lines[0].time == moment
    ask("logs", "shop", since="10m")
    ask("logs", "shop", since=90)
    asked = [seen.query["since"] for seen in manager.asked("GET", "/shop/logs")]
    assert asked == ["2026-03-01T12:00:00Z", "10m", "1m30s"]


def test_a_time_of_no_zone_is_refused(ask, manager):
    with pytest.raises(ValueError, match="time zone"):
        ask("logs", "shop", since=datetime(2026, 3, 1))


def test_hooks_are_read_of_the_last_rollout_or_followed(ask, manager):
    line = {"phase": "pre_deploy", "line": "migrating"}
    manager.on("GET", "/shop/rollouts", Answer(body={"rollouts": [rollout()], "total": 1}))
    manager.on("GET", "/shop/rollouts/r-2/hooks", Answer(body={"lines": [line]}), Answer(events=[line]))
    assert [each.line for each in ask("hooks", "shop").lines] == ["migrating"]
    assert [each.phase for each in ask("follow_hooks", "shop", "r-2")] == ["pre_deploy"]


def test_events_are_followed_over_a_connection_that_is_lost(ask, manager):
    first = Answer(events=[("7", "begin", {}), ("8", "event", event("a", number=8))], over=False)
    second = Answer(events=[("9", "event", event("b", number=9))])
    manager.on("GET", "/shop/events", first, second)
    assert [each.id for each in ask("follow_events", "shop")] == [8, 9]
    assert [seen.headers.get("last-event-id") for seen in manager.asked("GET", "/shop/events")] == [None, "8"]


def test_what_runs_is_read_with_who_gets_the_requests(ask, manager):
    one = {"id": "shop-1-0", "version": "1.0", "state": "draining", "host": "", "port": 1, "message": "", "restarts": 2}
    share = {"pool": "stable", "version": "1.0", "weight": 75}
    body = {"deployment": "shop", "revision": "a1", "instances": [one], "traffic": [share], "rollout_id": None}
    manager.on("GET", "/shop/instances", Answer(body=body))
    found = ask("instances", "shop", after="a0")
    assert (found.instances[0].state, found.traffic[0].weight) == ("draining", 75)
    assert manager.asked("GET", "/shop/instances")[0].query == {"wait": "a0"}
