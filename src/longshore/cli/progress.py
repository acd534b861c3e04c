"""A rollout as it goes: bars on a terminal, a line for each message elsewhere, nothing with --json."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from longshore.cli.output import on_terminal, paint, say, stamp, wants_colour

if TYPE_CHECKING:
    from rich.live import Live

    from longshore.cli.live import Picture
    from longshore.cli.session import Session
    from longshore.client.results import Progress

OnProgress = Callable[["Progress"], None]

#: seconds between two frames
FRAME_S = 0.125
#: seconds before it is asked again what runs, where there is no such deployment yet
AGAIN_S = 0.2


@contextlib.contextmanager
def shown_progress(session: Session, name: str, title: str, *, silent: bool = False) -> Iterator[OnProgress | None]:
    """What `on_progress` of the client is to be, for as long as the block lasts.

    session, name   where to ask what runs of the deployment, for the bars; title of the first of them
    """
    if silent:
        yield None
    elif on_terminal():
        with _live(title, session, name) as picture:
            yield picture.hear
    else:
        yield show_line


@contextlib.contextmanager
def _live(title: str, session: Session, name: str) -> Iterator[Picture]:
    from rich.console import Console
    from rich.live import Live

    from longshore.cli.live import Picture

    console = Console(color_system=None if wants_colour() is False else "auto", highlight=False)
    picture, over = Picture(console, title), threading.Event()
    # It may sit in a connection that says nothing for long: nobody waits for it.
    threading.Thread(target=_see, args=(picture, session, name, over), daemon=True).start()
    with Live(picture, console=console, transient=True, auto_refresh=False) as live:
        drawing = threading.Thread(target=_draw, args=(picture, live, over), daemon=True)
        drawing.start()
        try:
            yield picture
        finally:
            over.set()
            drawing.join()


def _draw(picture: Picture, live: Live, over: threading.Event) -> None:
    while not over.wait(FRAME_S):
        with picture.drawing:
            live.refresh()


def _see(picture: Picture, session: Session, name: str, over: threading.Event) -> None:
    """Tell the picture what runs, until it is over. What cannot be had is not shown: the messages still are."""
    from longshore.client import ApiError, ClientError

    with session.client() as client:
        while not over.wait(AGAIN_S):
            try:
                for now in client.follow_instances(name):
                    if over.is_set():
                        return
                    picture.see(now)
            except ApiError as error:
                if error.code != "DEPLOYMENT_NOT_FOUND":  # a first deploy: it will be there in a moment
                    return
            except ClientError:
                return


def show_line(message: Progress) -> None:
    """`12:00:03Z  40%  running  wait_ready: 2 of 3 instances are ready`."""
    text = f": {message.message}" if message.message else ""
    first, *rest = f"{message.step}{text}".splitlines() or [""]
    clock = stamp(message.timestamp)[11:]
    say(f"{clock}  {message.progress_pct:3d}%  {message.status:<7}  {first}")
    for line in rest:
        say(" " * 26 + line)


def outcome_line(good: bool, text: str) -> None:
    """The last line of a rollout."""
    say(paint("✓ " if good else "✗ ", "green" if good else "red") + text if on_terminal() else text)
