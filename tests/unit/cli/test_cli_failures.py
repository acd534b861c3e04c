import pytest

from longshore.cli.failures import HINTS, report
from longshore.client.errors import API_ERRORS, api_error


@pytest.mark.parametrize("code", HINTS)
def test_a_hint_is_for_a_code_of_the_api_and_says_what_to_do(code):
    assert code in API_ERRORS
    assert len(HINTS[code](api_error(code, "went wrong", {"deployment": "shop"}))) > 20


def test_a_hint_names_the_deployment():
    error = api_error("BACKUP_NOT_FOUND", "", {"deployment": "shop"})
    assert "longshore releases shop" in HINTS["BACKUP_NOT_FOUND"](error)


def test_a_limit_says_when_to_try_again():
    assert "in 12 s" in HINTS["RATE_LIMITED"](api_error("RATE_LIMITED", "", retry_after=12))


def test_a_cause_that_the_message_has_already_is_not_said_again(capsys):
    report(api_error("DEPLOYMENT_FAILED", "hook 1 failed: no such table", {"cause": "no such table"}), as_json=False)
    report(api_error("DEPLOYMENT_FAILED", "hook 1 failed", {"cause": "no such column"}), as_json=False)
    said = capsys.readouterr().err
    assert said.count("no such table") == 1
    assert "no such column" in said
