"""backup, restore: copies of what the manager knows, on the machine where it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from longshore.cli.output import paint, say, say_json
from longshore.cli.session import Session, in_session


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@in_session
def backup(session: Session, file: Path | None) -> None:
    """Copy the database to FILE, whether the manager runs or not.

    Without FILE, to backups/ in the data directory, where it stays until you delete it. Releases, logs and admin.token
    are not in it.
    """
    from longshore.store.backup import back_up
    from longshore.store.backup_names import name_at
    from longshore.store.sqlite import DATABASE

    data_dir = _data_dir(session)
    target = file or data_dir / "backups"
    if file is None or file.is_dir():
        target = target / name_at(time.time(), manual=True)
    with _failing():
        back_up(data_dir / DATABASE, target)
    size = target.stat().st_size
    say_json({"path": str(target), "size_bytes": size}) if session.json else say(f"{target}: {size:,} bytes")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@in_session
def restore(session: Session, file: Path) -> None:
    """Make the copy FILE the database, while the manager is stopped.

    What was there is kept in backups/. Started again, the manager makes true what FILE says: instances that it does not
    know are ended, those that it says are committed are started.
    """
    from longshore.data_dir import locked
    from longshore.store.backup import restore as put_back

    data_dir = _data_dir(session)
    with _failing(), locked(data_dir):
        aside = put_back(file, data_dir)
    if session.json:
        say_json({"restored": str(file), "data_dir": str(data_dir), "replaced": None if aside is None else str(aside)})
        return
    say(f"{file} is the database of {data_dir} now; start the manager.")
    if aside is not None:
        say(f"What was there is kept as {aside}.")


def _data_dir(session: Session) -> Path:
    from longshore.client.discovery import default_data_dir

    return (session.data_dir or default_data_dir()).absolute()


@contextmanager
def _failing() -> Iterator[None]:
    from longshore.disk import FilesError
    from longshore.settings import SettingsError
    from longshore.store.sqlite import Damaged

    try:
        yield
    except (FilesError, SettingsError, OSError) as error:
        message = str(error)
    except Damaged as error:
        message = error.message
    else:
        return
    say(paint(f"error: {message}", "red"), err=True)
    click.get_current_context().exit(1)
