from __future__ import annotations

import pytest

from longshore.masking import MASK, mask_configuration, mask_text, mask_urls


@pytest.mark.parametrize(
    "key",
    ["API_TOKEN", "DB_PASSWORD", "db_passwd", "STRIPE_KEY", "SECRET", "AUTH", "SENTRY_DSN", "PRIVATE_X", "Credential"],
)
def test_values_of_secret_looking_keys_are_masked(key: str) -> None:
    assert mask_configuration({key: "hunter2"}) == {key: MASK}


def test_other_values_are_shown() -> None:
    assert mask_configuration({"LOG_LEVEL": "info", "EMPTY_TOKEN": ""}) == {"LOG_LEVEL": "info", "EMPTY_TOKEN": ""}


@pytest.mark.parametrize("userinfo", ["app:hunter2", ":hunter2", "app:p@ss:word", "app:"])
def test_passwords_in_urls_are_masked(userinfo: str) -> None:
    assert mask_urls(f"see postgres://{userinfo}@db:5432/x?y=1") == f"see postgres://{MASK}@db:5432/x?y=1"


def test_urls_without_userinfo_are_left_alone() -> None:
    text = "http://localhost:80/a:b@c and https://x/"
    assert mask_urls(text) == text


@pytest.mark.parametrize("said", ["login with hunter22 failed", "a=hunter22&b=1", "hunter22 | hunter22"])
def test_secret_values_are_masked_in_what_a_program_prints(said: str) -> None:
    assert mask_text(said, {"DB_PASSWORD": "hunter22"}) == said.replace("hunter22", MASK)


def test_every_line_of_a_secret_and_the_password_of_a_url_are_masked_in_text() -> None:
    configuration = {"TLS_KEY": "-----BEGIN-----\nMIIEabcdef\n", "DATABASE_URL": "postgres://app:correcthorse@db/x"}
    said = "read MIIEabcdef; password correcthorse; postgres://app:correcthorse@db/x"
    assert mask_text(said, configuration) == f"read {MASK}; password {MASK}; postgres://{MASK}@db/x"


def test_the_longest_secret_goes_first_and_short_or_open_values_stay() -> None:
    configuration = {"A_TOKEN": "abcdef", "B_TOKEN": "abcdefgh", "USE_AUTH": "true", "MODE": "production"}
    assert mask_text("abcdefgh true production", configuration) == f"{MASK} true production"
