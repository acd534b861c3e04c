"""What is written for systemd. That it reads back what was meant is tested on a real one: tests/hosts/test_units.py."""

from __future__ import annotations

import pytest

from longshore.drivers.base import DriverError
from longshore.drivers.systemd import quoting


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("50%", '"50%%"'),
        ("line\nline", r'"line\nline"'),
        ("tab\tbell\a", r'"tab\tbell\x07"'),
        ("grün", '"grün"'),
        (";", '";"'),
    ],
)
def test_a_word_is_quoted(text: str, written: str) -> None:
    assert quoting.word(text) == written


def test_no_variable_is_replaced_in_a_command() -> None:
    assert quoting.command_line(("/bin/echo", "$HOME", "${HOME}")) == ':"/bin/echo" "$HOME" "${HOME}"'


def test_a_command_beyond_the_longest_line_is_refused() -> None:
    with pytest.raises(DriverError, match="longer than the 1 MiB"):
        quoting.command_line(("/bin/echo", "x" * 1024 * 1024))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", 'A="plain"\n'),
        ('"$`\\', 'A="\\"\\$\\`\\\\"\n'),
        ("two\nlines", 'A="two\nlines"\n'),
        ("%h # ; '", 'A="%h # ; \'"\n'),
    ],
)
def test_a_variable_is_quoted(value: str, written: str) -> None:
    assert quoting.environment_file({"A": value}) == written


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A.B", "A B", "Ä"])
def test_a_variable_that_systemd_would_leave_out_is_refused(name: str) -> None:
    with pytest.raises(DriverError, match="cannot be given to a unit of systemd"):
        quoting.environment_file({name: "x"})


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
def test_what_systemd_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(DriverError, match=r"NUL|UTF-8"):
        quoting.environment_file({"A": text})
    with pytest.raises(DriverError, match=r"NUL|UTF-8"):
        quoting.word(text)


@pytest.mark.parametrize("text", [" /srv", "/srv/\\", "/srv/a\nUser=root", "/srv "])
def test_a_path_that_would_end_its_line_early_is_refused(text: str) -> None:
    with pytest.raises(DriverError, match="cannot be a path of a unit"):
        quoting.path(text)


def test_a_path_keeps_its_blanks_and_percent_signs() -> None:
    assert quoting.path("/srv/my shop/50%") == "/srv/my shop/50%%"


@pytest.mark.parametrize(
    ("unit", "label"),
    [("shop@1-0.service", "shop_401_2d0_2eservice"), ("1a.service", "_31a_2eservice"), ("ä", "_c3_a4")],
)
def test_the_last_part_of_a_units_path_on_the_bus(unit: str, label: str) -> None:
    assert quoting.label(unit) == label
