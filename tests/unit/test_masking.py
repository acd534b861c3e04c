from __future__ import annotations

import pytest

from longshore.masking import MASK, mask_configuration, mask_urls


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
