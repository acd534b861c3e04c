"""Webhooks in the configuration: what is refused, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from longshore.app import check
from longshore.settings import Settings, SettingsError, load
from longshore.webhooks.receiver import Webhook

URL = "https://bot:hunter2-hunter2@hooks.example.com:8443/services/T0123456/B0123456/abcdefgh?token=zyxwvuts"


def hook(**fields: Any) -> Webhook:
    return Webhook(**{"name": "chat", "url": URL, **fields})


def test_a_table_of_the_file_is_a_webhook(tmp_path: Path) -> None:
    path = tmp_path / "longshore.toml"
    path.write_text(
        f'[[webhooks]]\nname = "chat"\nurl = "{URL}"\nformat = "slack"\nevents = ["*"]\n'
        '[[webhooks]]\nname = "audit"\nurl = "http://127.0.0.1:9/"\nenvironments = ["production"]\nsecret = "abc"\n'
    )
    chat, audit = load(path).webhooks
    assert (chat.format, chat.signed, chat.host) == ("slack", False, "https://hooks.example.com:8443")
    assert (audit.format, audit.signed, audit.key()) == ("json", True, b"abc")
    assert chat.wants("rollout.paused", "staging")
    assert audit.wants("rollout.failed", "production")
    assert not audit.wants("rollout.failed", "staging")
    assert not audit.wants("rollout.paused", "production")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Chat room"}, "name: String should match"),
        ({"url": "hooks.example.com/x"}, "url: .*must be http://HOST"),
        ({"url": "ftp://hooks.example.com/x"}, "url: .*must be http://HOST"),
        ({"url": "https://"}, "url: .*must be http://HOST"),
        ({"url": "https://hooks.example.com:99999/x"}, "url: .*must be http://HOST"),
        ({"url": "https://hooks.example.com/a b"}, "url: .*without blanks"),
        ({"url": "https://hooks.example.com/\u00fc"}, "url: .*in ASCII"),
        ({"events": ["rollout.done"]}, "events: .*'rollout.done' is no event: use [*] or rollout.waiting"),
        ({"events": []}, "events: .*at least 1"),
        ({"format": "xml"}, "format: .*one of json, slack"),
        ({"secret": "whsec_???"}, "whsec_ is no base64"),
        ({"secret": ""}, "the secret is empty"),
        ({"secret": "a", "secret_file": "/x"}, "a secret or a secret_file, not both"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused_saying_what_would(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        load(None, {"webhooks": [{"name": "chat", "url": URL, **fields}]})
    assert "abcdefgh" not in str(refused.value)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two webhooks are called chat"):
        Settings(webhooks=(hook(), hook(format="slack")))


@pytest.mark.parametrize("content", [None, b"", b"whsec_???", b"\xff\xfe"], ids=["missing", "empty", "bad", "binary"])
def test_a_manager_does_not_start_with_a_secret_file_that_it_cannot_use(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="the secret_file of chat cannot be used"):
        check(Settings(webhooks=(hook(secret_file=file),)))


def test_the_settings_can_be_looked_at_by_who_may_not_read_the_secret(tmp_path: Path) -> None:
    assert load(None, {"webhooks": [{"name": "chat", "url": URL, "secret_file": str(tmp_path / "none")}]}).webhooks


def test_a_secret_file_is_read_anew_for_each_message(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_YWJj\n")
    webhook = hook(secret_file=file)
    assert webhook.key() == b"abc"
    file.write_text("other")
    assert webhook.key() == b"other"


def test_neither_url_nor_secret_are_in_what_settings_print() -> None:
    settings = Settings(webhooks=(hook(secret="a-long-secret"),))
    for shown in (repr(settings), str(settings), json.dumps(settings.model_dump(mode="json"))):
        assert not any(part in shown for part in ("a-long-secret", "abcdefgh", "hunter2", "zyxwvuts"))


def test_what_a_receiver_quotes_of_the_url_or_the_secret_is_masked() -> None:
    webhook = hook(secret=SecretStr("a-long-secret"))
    said = f"no service at {URL}, nor at /services/T0123456/B0123456/abcdefgh; a-long-secret? \x1b[31mno\n"
    shown = webhook.shown(said)
    assert not any(part in shown for part in ("a-long-secret", "T0123456", "abcdefgh", "hunter2", "zyxwvuts", "\x1b"))
    assert "hooks.example.com" in shown
