"""The methods as flows: no connection, no clock."""

import json
from datetime import datetime

import pytest

from longshore.client import (
    ConnectionLost,
    DeploymentInProgress,
    DeploymentNotFound,
    HealthCheckFailed,
    ManagerUnreachable,
    NotFound,
    RollbackFailed,
    Unauthorized,
    UnexpectedAnswer,
    WaitTimeout,
    calls,
    rollouts,
    watching,
)
from longshore.client.effects import ChannelClosed, Open, Request
from longshore.client.results import Rollout
from support.fake_manager import LATER, TIME, envelope, failed_rollout, progress, rollout
from support.playing import play, reply

LOST = ConnectionLost("http://m", "reset")
GONE = ManagerUnreachable("http://m", "refused")
BEGUN = reply(rollout("running"), 202, location="/api/v1/deployments/shop/rollouts/r-2")
SPEC = {"name": "shop", "version": "1.1", "artifact_path": "/x"}


def deploy(**changes):
    return rollouts.deploy(SPEC, **{"wait": True, "key": None, "timeout": None, "patience_s": 5.0} | changes)


def message(seq, pct, **changes):
    return json.dumps(progress(seq, pct, **changes))


def test_a_deploy_asks_for_an_answer_at_once_with_an_idempotency_key():
    _, asked, _ = play(deploy(), reply(rollout(), 201))
    assert asked[0].headers["Prefer"] == "respond-async"
    assert len(asked[0].headers["Idempotency-Key"]) == 36


def test_a_manager_that_answers_synchronously_is_understood():
    of_the_seed = ["version", "start_time", "end_time", "duration", "success", "message", "previous_version", "steps"]
    result, _, _ = play(deploy(), reply({key: rollout()[key] for key in of_the_seed}, 201))
    assert (result.version, result.duration, result.success, result.steps[0].duration) == ("1.1", 2.5, True, 2.5)


def test_a_deploy_follows_its_rollout_over_the_websocket_to_its_end():
    result, asked, emitted = play(
        deploy(), BEGUN, None, message(1, 10), message(2, 100, status="success"), reply(rollout())
    )
    assert result.success is True
    assert [p.seq for p in emitted] == [1, 2]
    assert asked[1] == Open("socket", "/api/v1/deployments/shop/progress", {"rollout": "r-2", "after": 0})


def test_a_lost_websocket_is_opened_again_where_it_ended():
    _, asked, emitted = play(
        deploy(), BEGUN, None, message(1, 10), LOST, reply(rollout("running")), None, message(1, 10),
        message(2, 100, status="success"), reply(rollout()),
    )  # fmt: skip
    assert [effect.params for effect in asked if isinstance(effect, Open)][1] == {"rollout": "r-2", "after": 1}
    assert [p.seq for p in emitted] == [1, 2]


def test_a_manager_that_restarts_does_not_lose_the_outcome():
    result, _, _ = play(
        deploy(), BEGUN, None, ChannelClosed(1012), GONE, GONE, GONE, None, ChannelClosed(1000), reply(rollout())
    )
    assert result.success is True


def test_a_request_whose_connection_broke_is_sent_again_with_the_same_key():
    _, asked, _ = play(deploy(), LOST, GONE, reply(rollout(), 201))
    assert [effect.headers["Idempotency-Key"] for effect in asked] == [asked[0].headers["Idempotency-Key"]] * 3


def test_a_manager_that_never_answered_is_not_tried_again():
    with pytest.raises(ManagerUnreachable):
        play(deploy(), GONE)


def test_a_manager_that_does_not_come_back_is_given_up():
    with pytest.raises(ConnectionLost):
        play(deploy(patience_s=0.0), LOST)


def test_where_there_is_no_websocket_the_record_is_polled_and_shown():
    result, _, emitted = play(
        deploy(), BEGUN, UnexpectedAnswer("no WebSocket"), reply(rollout("running")), reply(rollout("running")),
        reply(rollout("committed", progress_pct=90)), reply(rollout()),
    )  # fmt: skip
    assert result.success is True
    assert [(p.progress_pct, p.status) for p in emitted] == [(40, "running"), (90, "running")]


def test_a_limited_poll_is_repeated():
    limited = reply(envelope("RATE_LIMITED"), 429, retry_after="1")
    result, _, _ = play(deploy(), BEGUN, UnexpectedAnswer("none"), limited, reply(rollout()))
    assert result.success is True


def test_silence_makes_the_client_ask_whether_the_rollout_is_over():
    result, _, _ = play(
        deploy(), BEGUN, None, message(1, 10), None, reply(rollout("running")), None, reply(rollout()), reply(rollout())
    )
    assert result.success is True


def test_a_failed_rollout_is_raised_as_what_failed_in_it():
    with pytest.raises(HealthCheckFailed) as caught:
        play(deploy(), BEGUN, None, message(1, 100, status="failed"), reply(failed_rollout()))
    error = caught.value
    assert (error.status, error.details["operation"], error.details["rolled_back"]) == (500, "wait_ready", True)
    assert error.cause.startswith("last probe")
    assert error.details["steps"][1]["name"] == "wait_ready"


def test_not_waiting_answers_with_the_rollout_as_it_began():
    result, asked, _ = play(deploy(wait=False), BEGUN)
    assert (result.id, result.success, result.end_time, len(asked)) == ("r-2", None, None, 1)


def test_a_bound_on_waiting_ends_the_waiting_and_names_the_rollout():
    with pytest.raises(WaitTimeout, match=r"rollout r-2 of shop .*longshore watch shop"):
        play(deploy(timeout=0.0), BEGUN, None, reply(rollout("running")))


def test_a_manager_that_stops_while_waiting_hands_over_to_the_next():
    stopping = reply(envelope("INTERNAL_ERROR", "stopping", rollout_id="r-2"), 500)
    result, _, _ = play(deploy(), stopping, GONE, reply(rollout()))
    assert result.success is True


def test_a_refused_deploy_is_the_managers_error():
    with pytest.raises(DeploymentInProgress) as caught:
        play(deploy(), reply(envelope("DEPLOYMENT_IN_PROGRESS", "busy", started_by="ada"), 409))
    assert (caught.value.status, caught.value.details["started_by"]) == (409, "ada")


def test_a_rollback_that_failed_is_rollback_failed_whatever_failed_in_it():
    flow = rollouts.rollback("shop", "", timeout=None, patience_s=5.0)
    with pytest.raises(RollbackFailed):
        play(flow, BEGUN, None, message(1, 100, status="failed"), reply(failed_rollout(kind="rollback")))


def test_a_rollback_answers_in_its_own_shape():
    flow = rollouts.rollback("shop", "1.0", timeout=None, patience_s=5.0)
    result, asked, _ = play(flow, reply({"message": "done", "version": "1.0", "timestamp": TIME}))
    assert (result.version, asked[0].json) == ("1.0", {"version": "1.0"})


def test_a_rollback_that_was_followed_answers_in_the_same_shape():
    flow = rollouts.rollback("shop", "1.0", timeout=None, patience_s=5.0)
    result, _, _ = play(flow, BEGUN, None, message(1, 100, status="success"), reply(rollout(version="1.0")))
    assert (result.version, result.timestamp) == ("1.0", datetime.fromisoformat(LATER))


def test_watching_resumes_after_a_lost_connection():
    flow = watching.watch("shop", None, 0, 5.0)
    _, asked, emitted = play(flow, None, message(1, 10), LOST, GONE, None, message(2, 100, status="failed"))
    assert [effect.params for effect in asked if isinstance(effect, Open)] == [
        {}, {"rollout": "r-2", "after": 1}, {"rollout": "r-2", "after": 1}]  # fmt: skip
    assert [p.last for p in emitted] == [False, True]


def test_watching_a_manager_that_is_not_there_fails_at_once():
    with pytest.raises(ManagerUnreachable):
        play(watching.watch("shop", None, 0, 5.0), GONE)


def test_watching_what_never_began_is_not_found():
    with pytest.raises(DeploymentNotFound, match="none began"):
        play(watching.watch("shop", None, 0, 5.0), None, json.dumps(envelope("DEPLOYMENT_NOT_FOUND", "none began")))


@pytest.mark.parametrize(("code", "error"), [(4401, Unauthorized), (4404, DeploymentNotFound)])
def test_close_codes_of_the_contract_are_errors(code, error):
    with pytest.raises(error):
        play(watching.watch("shop", None, 0, 5.0), None, ChannelClosed(code))


def test_messages_without_numbers_are_all_shown():
    plain = json.dumps({"step": "a", "status": "running", "message": "", "progress_pct": 5, "timestamp": TIME})
    _, _, emitted = play(watching.watch("shop", None, 0, 5.0), None, plain, plain, ChannelClosed(1000))
    assert len(emitted) == 2


def test_reading_is_repeated_once_where_the_connection_broke():
    result, asked, _ = play(calls.get(Rollout, "/x"), LOST, reply(rollout()))
    assert (result.id, len(asked)) == ("r-2", 2)


def test_what_must_not_happen_twice_is_not_repeated():
    with pytest.raises(ConnectionLost):
        play(calls.delete("shop", False), LOST)


def test_all_pages_are_asked_for_until_the_total_is_reached():
    def page(*names, offset):
        rows = [{"name": n, "version": "1", "environment": "e", "state": "healthy", "health": "healthy",
                 "updated_at": TIME} for n in names]  # fmt: skip
        return reply({"deployments": rows, "total": 3, "limit": 2, "offset": offset})

    flow = calls.all_pages(environment=None, state="healthy")
    _, asked, emitted = play(flow, page("a", "b", offset=0), page("c", offset=2))
    assert [row.name for row in emitted] == ["a", "b", "c"]
    assert [effect.params["offset"] for effect in asked] == [0, 2]


def test_an_invalid_specification_is_an_answer_not_an_error():
    body = {"valid": False, "issues": [{"field": "name", "message": "missing", "severity": "error"}], "warnings": []}
    result, _, _ = play(calls.validate({}), reply(body, 400))
    assert (result.valid, result.issues[0].field) == (False, "name")


def test_a_verb_without_a_rollout_goes_to_the_one_in_progress():
    page = reply({"rollouts": [rollout("running")], "total": 1})
    _, asked, _ = play(calls.control("shop", None, "pause"), page, reply(rollout("paused")))
    assert asked[1] == Request("POST", "/api/v1/deployments/shop/rollouts/r-2/pause")


def test_a_verb_without_a_rollout_in_progress_says_so():
    with pytest.raises(NotFound, match="no rollout of shop is in progress"):
        play(calls.control("shop", None, "pause"), reply({"rollouts": [rollout()], "total": 1}))


def test_a_name_cannot_leave_its_place_in_the_path():
    assert calls.path_of("../x?y", "rollouts", "a/b") == "/api/v1/deployments/..%2Fx%3Fy/rollouts/a%2Fb"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": "no"}', b""])
def test_an_answer_that_is_no_longshore_is_named(body):
    with pytest.raises(UnexpectedAnswer, match="502"):
        play(calls.get(Rollout, "/x"), type(BEGUN)(502, {}, body))
