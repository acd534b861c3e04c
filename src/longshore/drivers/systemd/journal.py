"""What the journal of a host knows of a run that systemd itself has forgotten: how it ended, and why it never began."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from longshore.drivers.base import Exit
from longshore.hosts.base import Host

#: sd-messages(3): a main process ended; a unit failed, with its Result
PROCESS_EXIT = "98e322203f7a4ed290d09fe03c09fe15"
UNIT_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"

#: invocation, id of PROCESS_EXIT: all that systemd has said of one run. What it has just said may be on its way: --sync
#: waits for it, where that is allowed.
_OF_RUN = r"""
look() {
  journalctl --quiet --no-pager --output=json --lines=50 \
    --output-fields=MESSAGE,MESSAGE_ID,EXIT_CODE,EXIT_STATUS,UNIT_RESULT \
    "INVOCATION_ID=$1" + "USER_INVOCATION_ID=$1" 2> /dev/null || :
}
found=$(look "$1")
case $found in
  *"$2"*) ;;
  *) journalctl --sync 2> /dev/null || :; found=$(look "$1") ;;
esac
printf '%s\n' "$found"
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, as far as the journal tells.

    result   systemd's word for why it failed; "": it did not, or that is not known
    reason   what went wrong before the program was executed; ""
    """

    exit: Exit
    result: str
    reason: str


async def ending(host: Host, invocation: str) -> Ending:
    """Raises HostUnreachable."""
    if not invocation:
        return Ending(Exit(None), "", "")
    done = await host.run(_OF_RUN, invocation, PROCESS_EXIT, check=False)
    return parse_ending(done.stdout)


def parse_ending(said: bytes) -> Ending:
    exit, result, reason = Exit(None), "", ""
    for entry in _entries(said):
        message = text_of(entry.get("MESSAGE"))
        if entry.get("MESSAGE_ID") == PROCESS_EXIT:
            exit = _exit(entry)
        elif entry.get("MESSAGE_ID") == UNIT_FAILED:
            result = str(entry.get("UNIT_RESULT", ""))
        elif (found := _said_before_it_ran(message)) and not reason:
            reason = found
    return Ending(exit, result, reason)


def text_of(value: Any) -> str:
    """A field of the journal: a string, or a list of bytes where it is no UTF-8 or has control characters in it."""
    if isinstance(value, list):
        try:
            return bytes(value).decode("utf-8", "replace")
        except (TypeError, ValueError):  # a field that is there several times
            return text_of(value[0]) if value else ""
    return value if isinstance(value, str) else ""


# --- private


def _entries(said: bytes) -> Iterator[dict[str, Any]]:
    for line in said.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut short
            continue
        if isinstance(entry, dict):
            yield entry


def _exit(entry: dict[str, Any]) -> Exit:
    try:
        status = int(entry["EXIT_STATUS"])
    except (KeyError, ValueError):
        return Exit(None)
    return Exit(status if entry.get("EXIT_CODE") == "exited" else -status)


def _said_before_it_ran(message: str) -> str:
    """`shop@1-0.service: Failed to execute /srv/shop/server: Permission denied` without the unit and its full stop."""
    _, _, text = message.partition(": ")
    if not text.startswith(("Failed to ", "Unable to ", "Changing to ")):
        return ""
    return text.rstrip(".")
