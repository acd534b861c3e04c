from __future__ import annotations

import pytest

from longshore.api.auth import authenticate
from longshore.api.settings import ApiSettings
from longshore.errors import Forbidden, Unauthorized

WITH, WITHOUT = ApiSettings(token="s3cret"), ApiSettings(token=None)


@pytest.mark.parametrize(
    "given", ["", "s3cret", "Basic s3cret", "Bearer", "Bearer wrong", "Bearer s3cret2", "Bearer é"]
)
def test_a_missing_or_wrong_token_is_refused_with_a_challenge(given: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        authenticate({"authorization": given}, "10.0.0.1", WITH)
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_is_let_in_whatever_the_case_of_the_scheme(scheme: str) -> None:
    assert authenticate({"authorization": f"{scheme} s3cret"}, "10.0.0.1", WITH).name == "admin"


@pytest.mark.parametrize("host", ["localhost:8300", "127.0.0.1:8300", "[::1]:8300", "app.localhost"])
def test_without_tokens_requests_to_this_machine_are_let_in(host: str) -> None:
    assert authenticate({"host": host}, "127.0.0.1", WITHOUT).key == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.1:8300", ""])
def test_without_tokens_a_rebound_host_name_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        authenticate({"host": host}, "127.0.0.1", WITHOUT)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_without_tokens_pages_of_other_origins_are_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        authenticate({"host": "localhost:8300", "origin": origin}, "127.0.0.1", WITHOUT)


def test_without_tokens_the_servers_own_pages_are_let_in() -> None:
    authenticate({"host": "localhost:8300", "origin": "http://localhost:8300"}, "127.0.0.1", WITHOUT)
