"""What a look at a command's output finds."""

from __future__ import annotations

from longshore.drivers.systemd.command_output import parse


def test_pieces_come_in_the_order_in_which_they_were_written() -> None:
    assert parse(b"9 0 3\nnew7 4 4\nold\n") == [("7", 4, b"old\n"), ("9", 0, b"new")]


def test_a_piece_that_became_older_during_the_look_counts_once() -> None:
    assert parse(b"9 0 3\none9 0 5\none..8 0 2\nab") == [("8", 0, b"ab"), ("9", 0, b"one")]


def test_nothing_was_said_yet() -> None:
    assert parse(b"") == []
    assert parse(b"9 0 0\n") == [("9", 0, b"")]
