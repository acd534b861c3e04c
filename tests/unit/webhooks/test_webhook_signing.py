"""Signatures that any library of the Standard Webhooks can verify."""

from __future__ import annotations

import pytest

from longshore.webhooks.signing import headers, key_of


def test_the_example_of_the_specification_is_signed_as_its_libraries_sign_it() -> None:
    # The vector that the specification's own libraries are tested with, such as libraries/python of
    # github.com/standard-webhooks/standard-webhooks, tests/test_webhooks.py: test_sign_function.
    signed = headers(
        key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        1614265330.9,
    )
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_without_a_secret_there_is_no_signature() -> None:
    assert headers(None, "msg_1", b"{}", 7.0) == {"webhook-id": "msg_1", "webhook-timestamp": "7"}


def test_a_secret_that_is_not_marked_as_base64_is_taken_as_it_is() -> None:
    assert key_of("MfKQ9r8GKYqr") == b"MfKQ9r8GKYqr"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", "whsec_ü", "whsec_abc"])
def test_what_is_no_secret_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match=r"empty|no base64") as refused:
        key_of(secret)
    rest = secret.removeprefix("whsec_")
    assert not rest or rest not in str(refused.value)
