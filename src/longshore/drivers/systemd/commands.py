"""A user's shell lines on a host (hooks, checks): each a transient unit, which is asked how it ended, never run again.

    run_command ─► known there? ─no─► written down, started ─► awaited ─► result
                      └──────────yes──────────────────────────┘
    end_commands ─► those of a rollout that still run are killed, and all that is left of them is removed

A command whose connection was lost, or whose manager was killed, goes on, and whoever asks for it again by its name
gets its result. So results stay on the host until `end_commands`, which belongs to the end of every rollout.

On the host, for each: STATE/commands/NAME/environment (for root alone) and boot (the boot it was started in), and
RUN/longshore-NAME/ (its user's own): the output, in pieces of at most a megabyte of which three are kept, and how it
ended, in systemd's words.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from longshore.drivers.base import DriverError
from longshore.drivers.systemd import quoting
from longshore.drivers.systemd.command_output import CommandOutput
from longshore.drivers.systemd.manager import Systemd, title_of
from longshore.drivers.systemd.scripts import REFUSED
from longshore.fence import Fence, unfenced
from longshore.hosts import HostUnreachable, ScriptFailed, attempt
from longshore.hosts.base import Host
from longshore.hosts.losing import expect_there
from longshore.proc import HookResult

#: bytes of output that a result has
MAX_TAIL = 16 * 1024
#: seconds that a command may go on beyond its limit until it is called lost: killing it, and a slow connection
SLACK_S = 30.0
#: seconds that a connection may be gone while a command is waited for: it goes on meanwhile
LOST_S = 60.0
#: days after which what somebody has forgotten to end is removed
FORGOTTEN_DAYS = 7

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
#: the line to run, in the environment of its wrapper
_LINE = "LONGSHORE_LINE"

# The wrapper is the main process of the unit. It records what the line says, and when that has ended gives the output
# of what it has left running half a second: systemd kills the rest. (dd, unlike head, writes what it has read at once.)
_WRAPPER = r"""
cd "$RUNTIME_DIRECTORY" || exit
line=$LONGSHORE_LINE place=$LONGSHORE_PLACE
unset LONGSHORE_LINE LONGSHORE_PLACE RUNTIME_DIRECTORY NOTIFY_SOCKET INVOCATION_ID JOURNAL_STREAM SYSTEMD_EXEC_PID
mkfifo -m 600 pipe || exit
{
  while dd bs=1024 count=1024 of=new 2> /dev/null && [ -s new ]; do
    [ ! -e old ] || mv old older
    mv new old
  done
} < pipe &
reader=$!
( cd "$place" && unset OLDPWD && exec /bin/sh -c "$line" ) > pipe 2>&1 < /dev/null
code=$?
tries=0
while kill -0 "$reader" 2> /dev/null && [ "$tries" -lt 50 ]; do
  tries=$((tries + 1))
  sleep 0.01
done
exit "$code"
"""
#: what systemd knows of its end, which is written down whatever it was
_ENDING = """/bin/sh -c 'echo "$$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS" > "$$RUNTIME_DIRECTORY/ending"'"""

#: state name size user wrapper directory limit scope days ending, and on standard input the environment
_START = r"""
set -eu
state=$1 name=$2 size=$3 user=$4 wrapper=$5 directory=$6 limit=$7 scope=$8 forgotten=$9
shift 9
ending=$1
refuse() { printf '%s\n' "$*" >&2; exit 3; }
place=$state/commands/$name
exec 9>> "$state/commands.lock"
flock -w 20 9 || refuse "$state/commands.lock is held for longer than 20 s"
if [ -e "$place/boot" ]; then
  # Written down: started, too, or was that cut short in between? It has a directory of its own since it was, and is
  # loaded until it has ended. What was written down in another boot is never begun again.
  run=${XDG_RUNTIME_DIR:-/run}
  [ -n "$scope" ] || run=/run
  [ ! -d "$run/longshore-$name" ] || exit 0
  cmp -s "$place/boot" /proc/sys/kernel/random/boot_id || exit 0
  [ "$(systemctl $scope show --property=LoadState --value "longshore-$name.service")" != loaded ] || exit 0
fi
[ -d "$directory" ] || refuse "the directory $directory to run in does not exist"
[ -z "$user" ] || id "$user" > /dev/null 2>&1 || refuse "there is no user '$user': create it, or name another user"
mkdir -p "$place"
find "$state/commands" -mindepth 1 -maxdepth 1 -type d -mtime "+$forgotten" -exec rm -rf {} + || :
( umask 077; head -c "$size" > "$place/environment" )
[ "$(wc -c < "$place/environment")" -eq "$size" ] || refuse "the environment of $name did not arrive whole"
cat /proc/sys/kernel/random/boot_id > "$place/boot.new"
sync "$place/environment" "$place/boot.new"
mv "$place/boot.new" "$place/boot"
systemd-run $scope --quiet --no-block --collect "--unit=longshore-$name" "--description=Longshore: $name" \
  ${user:+"--uid=$user"} --property=Type=exec "--property=EnvironmentFile=$place/environment" \
  "--property=RuntimeDirectory=longshore-$name" --property=RuntimeDirectoryMode=0700 \
  --property=RuntimeDirectoryPreserve=yes "--property=RuntimeMaxSec=$limit" --property=KillSignal=SIGKILL \
  "--property=ExecStopPost=$ending" --property=StandardInput=null --property=TimeoutStopSec=5 \
  -- /bin/sh -c "$wrapper" 9>&- || {
  rm -rf "$place"
  exit 1
}
"""

#: state name tail scope: "unknown" where it was never started, "lost" where the machine was restarted since, "ended"
#: and how, with the output behind it, or "none" where nobody has written down how
_RESULT = r"""
place=$1/commands/$2
[ -e "$place/boot" ] || { echo unknown; exit; }
read -r boot < "$place/boot"
read -r now < /proc/sys/kernel/random/boot_id
[ "$boot" = "$now" ] || { echo lost; exit; }
run=${XDG_RUNTIME_DIR:-/run}
[ "$4" = user ] || run=/run
cd "$run/longshore-$2" 2> /dev/null || { echo none; exit; }
if [ -s ending ]; then read -r how < ending; echo "ended $how"; else echo none; fi
cat older old new 2> /dev/null | tail -c "$3"
"""

#: state prefix scope: removes what is left of those whose names begin so
_FORGET = r"""
state=$1 prefix=$2 run=${XDG_RUNTIME_DIR:-/run}
[ "$3" = user ] || run=/run
exec 9>> "$state/commands.lock"
flock -w 20 9 || exit
for place in "$state/commands/$prefix"*; do
  [ -d "$place" ] || continue
  name=${place##*/}
  rm -rf "$place" "$run/longshore-$name"
done
rmdir "$state/commands" 2> /dev/null || :
"""

_LIST = r"""
for place in "$1/commands/$2"*; do [ ! -d "$place" ] || echo "${place##*/}"; done
"""


class NotBegun(HostUnreachable):
    """The host was lost before anything of the command was sent there."""


def command_name(rollout_id: str, purpose: str, number: int) -> str:
    """What a command of a rollout is called: the same whenever it is asked for, another for each."""
    return f"{rollout_id}-{purpose}-{number}"


async def run_command(
    host: Host,
    name: str,
    command: str,
    *,
    directory: Path,
    environment: Mapping[str, str],
    user: str | None,
    timeout_s: float,
    fence: Fence = unfenced,
    on_output: Callable[[bytes], None] = lambda said: None,
) -> HookResult:
    """Run a shell line (/bin/sh -c) to its end, once, however often this is called with the same name.

    name         of command_name; those of a rollout begin with its id
    command      the line; values belong into `environment`, never into it
    directory    where, on the host
    environment  all of it, but for what systemd gives every unit (PATH, LANG; HOME, USER, LOGNAME, SHELL of `user`)
    user         to run as; None: whom the scripts run as there
    timeout_s    seconds until all of it is killed
    on_output    given all that it says, in order, while it runs; called in a thread

    As with proc.run_shell, what it leaves running is killed when its shell ends. Raises DriverError where it cannot be
    started, or where the host was restarted meanwhile, so that nobody knows how far it came; NotBegun where the host is
    out of reach; HostUnreachable when the connection is lost later, for longer than LOST_S: if it was begun, it goes on
    there, and can be asked for again.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be part of the name of a unit")
    began = time.monotonic()
    try:
        await host.connect()
        # A loss that nobody has noticed yet is met here, and not by what may run only once.
        await attempt(host, lambda: expect_there(host))
    except HostUnreachable as error:
        raise NotBegun(error.host, str(error), passing=error.passing) from error
    await attempt(host, lambda: _start(host, name, command, directory, environment, user, timeout_s, fence))
    output = CommandOutput(host, name, on_output)
    async with aclosing(Systemd(host, fence)) as systemd, output.followed():
        await _ended(systemd, f"longshore-{name}.service", timeout_s + SLACK_S)
    result = await attempt(host, lambda: _result(host, name))
    await attempt(host, lambda: output.finish(result.tail.encode(), MAX_TAIL))
    return replace(result, duration_s=time.monotonic() - began)


async def rollouts_there(host: Host) -> frozenset[str]:
    """Ids of the rollouts of which a command has left something on a host, whoever's they are."""
    done = await attempt(host, lambda: host.run(_LIST, str(host.state), ""))
    return frozenset(name.rsplit("-", 2)[0] for name in done.stdout.decode("utf-8", "replace").split())


async def end_commands(host: Host, rollout_id: str, fence: Fence = unfenced) -> int:
    """Kill what still runs of a rollout's commands, and remove what is left of all of them. How many were killed."""
    if not _NAME.fullmatch(rollout_id):
        raise ValueError(f"{rollout_id!r} cannot be part of the name of a unit")
    return await attempt(host, lambda: _end(host, f"{rollout_id}-", fence))


# --- private


async def _start(
    host: Host,
    name: str,
    command: str,
    directory: Path,
    environment: Mapping[str, str],
    user: str | None,
    timeout_s: float,
    fence: Fence,
) -> None:
    given = quoting.environment_file({**environment, _LINE: command, "LONGSHORE_PLACE": str(directory)}).encode()
    fence()
    try:
        await host.run(
            _START,
            *(str(host.state), name, str(len(given)), user or "", _WRAPPER.replace("$", "$$"), str(directory)),
            *(f"{timeout_s:.3f}s", "--user" if host.scope == "user" else "", str(FORGOTTEN_DAYS), _ENDING),
            input=given,
        )
    except ScriptFailed as error:
        if error.done.code != REFUSED:
            raise
        said = error.done.stderr.decode("utf-8", "replace").strip()
        raise DriverError(f"the command {command!r} cannot be run on {title_of(host)}: {said}") from error


async def _ended(systemd: Systemd, unit: str, bound_s: float) -> None:
    """Wait for the end of a unit, over lost connections. Raises DriverError when it does not end in time."""

    async def watch() -> None:
        async with systemd.watching(unit) as changed:
            while (state := await systemd.state(unit)).up or not state.down:
                await changed()

    try:
        async with asyncio.timeout(bound_s):
            while True:
                try:
                    return await watch()
                except HostUnreachable as error:
                    if not error.passing:
                        raise
                    await attempt(systemd.host, systemd.host.connect, LOST_S)
    except TimeoutError:
        raise DriverError(
            f"{unit} on {title_of(systemd.host)} did not end within {bound_s:g} s: look at it there"
        ) from None


async def _result(host: Host, name: str) -> HookResult:
    done = await host.run(_RESULT, str(host.state), name, str(MAX_TAIL), host.scope)
    word, _, output = done.stdout.partition(b"\n")
    tail = output.decode("utf-8", "replace")
    match word.decode("ascii", "replace").split():
        case ["ended", "timeout", *_]:
            return HookResult(None, True, tail, 0.0)
        case ["ended", _, "exited", code]:
            return HookResult(int(code), False, tail, 0.0)
        case ["ended", *_] | ["none"]:
            return HookResult(-signal.SIGKILL, False, tail, 0.0)
        case ["lost"]:
            raise DriverError(f"{title_of(host)} was restarted while {name} ran there: nobody knows how far it came")
    raise DriverError(f"{name} was removed from {title_of(host)} while it was waited for")


async def _end(host: Host, prefix: str, fence: Fence) -> int:
    killed = 0
    await host.connect()
    done = await host.run(_LIST, str(host.state), prefix)
    async with aclosing(Systemd(host, fence)) as systemd:
        for name in done.stdout.decode("utf-8", "replace").split():
            unit = f"longshore-{name}.service"
            async with systemd.watching(unit):
                if not (await systemd.state(unit)).down:
                    killed += 1
                    if await (await systemd.stop(unit)).result(SLACK_S) is None:
                        raise DriverError(f"{unit} on {title_of(host)} does not end: look at it there")
    fence()
    await host.run(_FORGET, str(host.state), prefix, host.scope)
    return killed
