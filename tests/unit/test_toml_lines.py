"""Where a value stands in a TOML file."""

from __future__ import annotations

import pytest

from longshore.toml_lines import has, line_of

TEXT = '''\
listen = "x"  # listen = "y"

[rate_limits]
# deploy = 1
deploy = -1
environments."a.b".user = "root"

[environments.live]
text = """
[not.a.table]
deploy = 3
"""
names = [
  "one",

  "two",
]
inline = { a = 1, b = { c = 2 } }

[[environments.live.freeze]]
cron = "a"
[[environments.live.freeze]]
  cron = "b"
  duration = "c"\r
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("listen",), 1),
        (("rate_limits",), 3),
        (("rate_limits", "deploy"), 5),
        (("rate_limits", "environments", "a.b", "user"), 6),
        (("environments",), 8),
        (("environments", "live", "text"), 9),
        (("environments", "live", "names"), 13),
        (("environments", "live", "names", 1), 13),
        (("environments", "live", "inline", "b", "c"), 18),
        (("environments", "live", "freeze", 0), 20),
        (("environments", "live", "freeze", 0, "cron"), 21),
        (("environments", "live", "freeze", 1), 22),
        (("environments", "live", "freeze", 1, "duration"), 24),
    ],
)
def test_a_value_stands_on_the_line_on_which_it_begins(path: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize("path", [("nope",), ("environments", "live", "freeze", 2), ("listen", "x"), ("listen", 9)])
def test_a_value_that_is_not_there_stands_nowhere(path: tuple[str | int, ...]) -> None:
    assert line_of(TEXT, path) is None


def test_a_character_of_a_text_is_no_value() -> None:
    assert not has({"listen": "text"}, ("listen", 0))
