"""Tokens: known by their hash, valid until they expire or are revoked."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.access.tokens import PREFIX, USE_NOTED_S, Tokens
from longshore.errors import NotFound, SpecInvalid
from longshore.model import Role
from longshore.store import Store
from support.engine import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "longshore.db", clock)
    store.take_over()
    yield store
    store.close()


@pytest.fixture
def tokens(store: Store, clock: Clock) -> Tokens:
    return Tokens(store, clock)


def test_a_token_is_found_by_its_text_and_says_what_it_may(tokens: Tokens) -> None:
    made, text = tokens.create("ci", Role.deploy, ["staging", "live"], None, by="admin")
    found = tokens.find(text)
    assert found == made
    assert (made.name, made.role, made.environments, made.created_by) == ("ci", "deploy", ("staging", "live"), "admin")


@pytest.mark.parametrize("text", ["", PREFIX, f"{PREFIX}x", "lsh", "\udcff", f"{PREFIX}é"])
def test_a_text_that_is_no_tokens_finds_none(tokens: Tokens, text: str) -> None:
    tokens.create("ci", Role.deploy, None, None, by="admin")
    assert tokens.find(text) is None


def test_a_token_expires_by_the_clock(tokens: Tokens, clock: Clock) -> None:
    _, text = tokens.create("ci", Role.deploy, None, 60.0, by="admin")
    clock.time += 59.9
    assert tokens.find(text) is not None
    clock.time += 0.1
    assert tokens.find(text) is None


def test_a_revoked_token_opens_nothing_from_that_moment_on_nor_after_a_restart(
    tokens: Tokens, store: Store, clock: Clock
) -> None:
    _, text = tokens.create("ci", Role.deploy, None, None, by="admin")
    revoked = tokens.revoke("ci", by="admin")
    assert tokens.find(text) is None
    assert Tokens(store, clock).find(text) is None
    clock.time += 10
    assert tokens.revoke("ci", by="admin") == revoked


def test_there_is_no_revoking_what_there_is_not(tokens: Tokens) -> None:
    with pytest.raises(NotFound):
        tokens.revoke("ci", by="admin")


def test_a_token_outlives_the_manager_that_made_it(tokens: Tokens, store: Store, clock: Clock) -> None:
    made, text = tokens.create("ci", Role.read, ["live"], 60.0, by="admin")
    assert Tokens(store, clock).find(text) == made


@pytest.mark.parametrize("name", ["admin", "anonymous", "anonymous@127.0.0.1"])
def test_a_name_of_longshores_own_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(SpecInvalid):
        tokens.create(name, Role.read, None, None, by="admin")


def test_a_name_is_given_once_also_after_it_was_revoked_or_expired(tokens: Tokens, clock: Clock) -> None:
    tokens.create("ci", Role.read, None, None, by="admin")
    tokens.revoke("ci", by="admin")
    tokens.create("guest", Role.read, None, 60.0, by="admin")
    clock.time += 3600
    for name in ("ci", "guest"):
        with pytest.raises(SpecInvalid):
            tokens.create(name, Role.admin, None, None, by="admin")
    assert [(t.name, t.role) for t in tokens.all()] == [("ci", "read"), ("guest", "read")]


def test_an_admin_that_is_held_to_environments_could_make_itself_one_that_is_not(tokens: Tokens) -> None:
    with pytest.raises(SpecInvalid):
        tokens.create("ops", Role.admin, ["staging"], None, by="admin")


def test_the_last_use_is_written_down_once_a_minute(tokens: Tokens, store: Store, clock: Clock) -> None:
    _, text = tokens.create("ci", Role.read, None, None, by="admin")
    began = clock.time
    for _ in range(3):
        tokens.find(text)
    assert tokens.all()[0].last_used_at == began
    clock.time += USE_NOTED_S - 1
    tokens.find(text)
    assert tokens.all()[0].last_used_at == began
    clock.time += 1
    tokens.find(text)
    assert tokens.all()[0].last_used_at == began + USE_NOTED_S


def test_a_clock_that_is_set_back_does_not_stop_uses_from_being_written_down(tokens: Tokens, clock: Clock) -> None:
    _, text = tokens.create("ci", Role.read, None, None, by="admin")
    tokens.find(text)
    clock.time -= 100_000
    tokens.find(text)
    assert tokens.all()[0].last_used_at == clock.time


def test_who_only_reads_is_let_in_also_where_nothing_can_be_written(tmp_path: Path, clock: Clock) -> None:
    full = False

    def write(point: str) -> None:
        if full and point == "commit":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    store = Store(tmp_path / "longshore.db", clock, write)
    store.take_over()
    tokens = Tokens(store, clock)
    _, text = tokens.create("ci", Role.read, None, None, by="admin")
    full = True
    assert tokens.find(text) is not None
    store.close()


def test_the_text_is_in_no_log_and_no_file(
    tokens: Tokens, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, text = tokens.create("ci", Role.deploy, None, None, by="ana")
    tokens.find(text)
    tokens.revoke("ci", by="ana")
    assert "ana made the token ci" in caplog.text
    assert "ana revoked the token ci" in caplog.text
    assert text not in caplog.text
    assert all(text.encode() not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("role", "least", "may"),
    [
        ("read", "read", True), ("read", "deploy", False), ("read", "admin", False),
        ("deploy", "read", True), ("deploy", "deploy", True), ("deploy", "admin", False),
        ("admin", "read", True), ("admin", "deploy", True), ("admin", "admin", True),
    ],
)  # fmt: skip
def test_each_role_may_what_the_one_before_may(role: str, least: str, may: bool) -> None:
    assert Role(role).may(Role(least)) is may
