import io
import time
from collections import deque

from rich.console import Console

from longshore.demo.ledger import OK, Ledger
from longshore.demo.scenes import OPENING, SCENES
from longshore.demo.view import View, sparkline

ALL = (OPENING, *SCENES)


def view_on(*, terminal: bool, ledger: Ledger | None = None) -> tuple[View, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system="standard" if terminal else None)
    return View(ALL, ledger or Ledger(), console), out


def test_the_highest_value_of_a_sparkline_is_a_full_block() -> None:
    assert sparkline(deque([0.0, 50.0, 100.0])) == "▁▅█"


def test_a_sparkline_of_silence_is_flat() -> None:
    assert sparkline(deque([0.0, 0.0])) == "▁▁"


def test_without_a_terminal_there_are_only_plain_lines() -> None:
    view, out = view_on(terminal=False)
    with view:
        view.begin(SCENES[0])
        view.tell("start_instance  shop-2-0", 40)
        view.end("2.0 serves", Ledger().summary())
    assert "\x1b" not in out.getvalue()
    assert " 40 %  start_instance  shop-2-0\n" in out.getvalue()
    assert "ok: 2.0 serves" in out.getvalue()


def test_the_same_step_is_told_once() -> None:
    view, out = view_on(terminal=False)
    with view:
        view.begin(SCENES[0])
        view.tell("drain", 40)
        view.tell("drain", 40)
    assert out.getvalue().count("drain") == 1


def test_a_terminal_shows_every_scene_and_the_shares_of_the_versions() -> None:
    ledger = Ledger()
    for version in ("1.0", "1.0", "1.0", "2.0"):
        ledger.record("get", OK, version, time.monotonic())
    view, out = view_on(terminal=True, ledger=ledger)
    with view:
        view.begin(SCENES[0])
    text = out.getvalue()
    assert all(scene.title in text for scene in ALL)
    assert "1.0 75%" in text
    assert "2.0 25%" in text


def test_a_failed_scene_is_marked_in_the_table() -> None:
    view, out = view_on(terminal=False)
    view.begin(SCENES[0])
    view.end("it did not", Ledger().summary(), failed=True)
    view.console.print(view.table())
    assert "✗ it did not" in out.getvalue()
