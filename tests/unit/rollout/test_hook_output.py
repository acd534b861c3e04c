from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from longshore.masking import MASK
from longshore.model import Rollout
from longshore.rollout.hook_output import HookOutput
from support.makers import make_rollout, make_spec


@pytest.fixture
def rollout() -> Rollout:
    return replace(make_rollout(), number=2, spec=make_spec(configuration={"DB_PASSWORD": "hunter22"}))


def test_each_line_is_given_once_and_in_the_order_of_the_phases(tmp_path: Path, rollout: Rollout) -> None:
    output = HookOutput(tmp_path, rollout)
    assert output.more(over=False) == []
    (tmp_path / "rollout-2-post_deploy.log").write_text("warm\n")
    (tmp_path / "rollout-2-pre_deploy.log").write_text("migrate\nhalf")
    (tmp_path / "rollout-20-pre_deploy.log").write_text("of another one\n")
    assert [(line.phase, line.text) for line in output.more(over=False)] == [
        ("pre_deploy", "migrate"),
        ("post_deploy", "warm"),
    ]
    assert [line.text for line in output.more(over=True)] == ["half"]
    assert output.more(over=True) == []


def test_secrets_are_masked_as_in_the_steps(tmp_path: Path, rollout: Rollout) -> None:
    (tmp_path / "rollout-2-pre_deploy.log").write_text("login hunter22\n")
    assert HookOutput(tmp_path, rollout).more(over=True)[0].text == f"login {MASK}"


def test_a_deployment_without_logs_has_no_output(tmp_path: Path, rollout: Rollout) -> None:
    assert HookOutput(tmp_path / "none", rollout).more(over=True) == []
