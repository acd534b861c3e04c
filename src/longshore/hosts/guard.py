"""The guard: what runs before every script on a host, and what it answers.

    sh reads this program ─► lock ─► is a newer epoch, or a newer connection, known? ─► refused: nothing is done
                                 └─► are there sessions of older ones? they are ended ─► registered ─► the work

On the host there are, for each manager:
    STATE/ID.epoch     the newest epoch that was shown; written durably, so that a reboot forgets nothing
    STATE/ID.lock      the lock under which all of this happens
    RUN/ID.sessions    the sessions that run: epoch, link, generation, pid, start time, process group

A *link* is what one Host object keeps connected, and its *generation* counts the connections. A connection that was
lost may have left a script running there, which the next one must not run beside: so its first session ends those of
the generations before it, and one of those that arrives late (TCP delivers also what was sent before a cable was cut)
is refused.

A shell that stays (standing.py) is asked for the epoch before each script, and registered with the first one: whoever
comes to be newer ends what is registered before anything else, so the later ones need no lock.

Everything goes to `sh` on its standard input: an argument list is for everybody to see. POSIX sh, coreutils, grep and
flock of util-linux is all it needs; it takes some 5 ms.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Scope = Literal["system", "user"]

#: what the far `sh -c` is given: read a number, read a program of so many bytes, run it. What follows is its input.
BOOT = 'IFS= read -r n && p=$(head -c "$n" && echo .) && eval "${p%.}"'
#: first word of the one line that the guard says, on standard output, before the work begins
ANSWER = b"longshore-guard "
#: exit status of a session that was refused
REFUSED = 79
#: in the environment of everything that a session runs
MARK = "LONGSHORE_SESSION"
#: seconds a session waits for the lock, and for those that it ends to be gone
PATIENCE_S = 10

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a session shows at the guard."""

    manager_id: str
    epoch: int
    scope: Scope
    link: str
    generation: int = 1

    def __post_init__(self) -> None:
        for text in (self.manager_id, self.link):
            if not _ID.fullmatch(text):
                raise ValueError(f"{text!r} cannot be part of a file name on a host")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the guard has said.

    word    go: the work begins; newer: another manager has taken over; stale: this connection was replaced;
            failed: the guard cannot do its work
    detail  go: pid and start time of the session; newer: that epoch; failed: why
    """

    word: str
    detail: str

    @property
    def process(self) -> tuple[int, int]:
        pid, start = self.detail.split()
        return int(pid), int(start)


def parse_answer(line: bytes) -> Answer | None:
    """None for any other line: login scripts may say something before."""
    if not line.startswith(ANSWER):
        return None
    word, _, detail = line[len(ANSWER) :].decode(errors="replace").strip().partition(" ")
    return Answer(word, detail)


def program(shown: Pass, script: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> bytes:
    """What is written to the standard input of a session: guard, environment, arguments and script, and before that
    how many bytes it is. Raises ValueError for what no shell can take."""
    text = words(shown.scope) + passing(shown, script, arguments, environment)
    return b"%d\n" % len(text) + text


def words(scope: Scope) -> bytes:
    """What `passing` needs a shell to know."""
    return "\n".join([*_PLACES[scope], _WORDS]).encode()


def passing(
    shown: Pass, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, stays: bool = False
) -> bytes:
    """The guard, and what is done once it has let that pass. stays: the shell may have run one before. Raises
    ValueError for what no shell can take."""
    lines = [
        f"id={shown.manager_id} epoch={shown.epoch:d} link={shown.link} generation={shown.generation:d}",
        f"stays={'1' if stays else ''}",
        _PASS,
    ]
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an environment variable")
        lines.append(f"export {name}={shlex.quote(value)}")
    lines += [f"set -- {shlex.join(arguments)}", script]
    text = "\n".join(lines).encode(errors="surrogateescape") + b"\n"
    if b"\0" in text:
        raise ValueError("neither scripts nor arguments nor variables can have a NUL in them")
    return text


def ending(pid: int, start: int) -> tuple[str, tuple[str, ...]]:
    """A script, and its arguments, that ends a session and waits until it is gone."""
    return 'start_of "$1" && [ "$start" = "$2" ] && end_all "$1 $2 $group"; :', (str(pid), str(start))


def state_of(scope: Scope, home: PurePosixPath) -> PurePosixPath:
    """Where records of ours are on a host."""
    return PurePosixPath("/var/lib/longshore-host") if scope == "system" else home / ".local/state/longshore-host"


def units_of(scope: Scope, home: PurePosixPath) -> PurePosixPath:
    """Where generated units are on a host."""
    return PurePosixPath("/etc/systemd/system") if scope == "system" else home / ".config/systemd/user"


# --- private: what runs there

_PLACES: Mapping[Scope, tuple[str, ...]] = {
    "system": ("state=/var/lib/longshore-host run=/run/longshore-host",),
    "user": (
        ': "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"; export XDG_RUNTIME_DIR',
        "state=$HOME/.local/state/longshore-host run=$XDG_RUNTIME_DIR/longshore-host",
        '[ -d "$XDG_RUNTIME_DIR" ] || run=$state',
    ),
}

# In the shell's words: `start_of PID` sets start, group and phase (state letter) of a process, and fails where it is
# gone or only waits to be reaped. `end_all` takes "PID START GROUP" lines. Scripts use of all this only these two and
# the variables.
_WORDS = rf"""
umask 022
cd "$HOME" 2>/dev/null || cd /
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export PATH LC_ALL
newline='
'
answer() {{ printf 'longshore-guard %s\n' "$*"; }}
refuse() {{ answer "$@"; exit {REFUSED}; }}
start_of() {{
  start='' group='' phase=''
  {{ read -r stat < "/proc/$1/stat"; }} 2>/dev/null || return 1
  set -- ${{stat##*) }}
  phase=$1 group=$3 start=${{20}}
  [ "$phase" != Z ] && [ "$phase" != X ]
}}
gone() {{
  tries=0
  while start_of "$1" && [ "$start" = "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -le {PATIENCE_S * 100} ] || return 1
    sleep 0.01
  done
}}
end_all() {{
  while read -r pid began of; do
    [ -n "$pid" ] && start_of "$pid" && [ "$start" = "$began" ] || continue
    if [ "$group" = "$of" ]; then kill -s KILL -- "-$of"; else kill -s KILL "$pid"; fi 2>/dev/null
    gone "$pid" "$began" || return 1
  done <<END
$1
END
}}
end_marked() {{
  for found in $(grep -lzs "^{MARK}=$1" /proc/[0-9]*/environ); do
    read -r e l g <<END
$({{ tr '\0' '\n' < "$found" | sed -n "s/^{MARK}=$id:\([0-9]*\):\([^:]*\):\([0-9]*\):.*/\1 \2 \3/p"; }} 2>/dev/null)
END
    [ -n "$g" ] || continue
    [ "$e" -lt "$epoch" ] || {{ [ "$e" = "$epoch" ] && [ "$l" = "$link" ] && [ "$g" -lt "$generation" ]; }} || continue
    found=${{found#/proc/}} found=${{found%/environ}}
    start_of "$found" || continue
    kill -s KILL "$found" 2>/dev/null
    gone "$found" "$start" || return 1
  done
}}
keep_epoch() {{
  # Not by the shell itself, which says "I/O error" for a disk that is full.
  echo "$epoch" | tee "$state/$id.epoch.new" > /dev/null && sync "$state/$id.epoch.new" &&
    mv -f "$state/$id.epoch.new" "$state/$id.epoch" && sync "$state"
}}
look() {{
  read -r boot < /proc/sys/kernel/random/boot_id
  known=0
  [ ! -e "$state/$id.epoch" ] || read -r known < "$state/$id.epoch"
  case $known in
    ''|*[!0-9]*) refuse failed "$state/$id.epoch holds no number: remove it if no other manager of $id runs" ;;
  esac
  [ "$known" -le "$epoch" ] || refuse newer "$known"
  sessions=$run/$id.sessions kept='' dead=0 seen='' here='' doomed='' older=''
  if [ -e "$sessions" ]; then
    {{
      read -r of_boot
      [ "$of_boot" != "$boot" ] || while read -r e l g pid began of; do
        if [ "$e" != "$epoch" ]; then
          doomed="$doomed$pid $began $of$newline"
          continue
        elif [ "$l" = "$link" ]; then
          [ "$g" -le "$generation" ] || refuse stale "$g"
          if [ "$g" != "$generation" ]; then
            older=1 doomed="$doomed$pid $began $of$newline"
            continue
          fi
          seen=1
        fi
        if [ "$pid" = 0 ] || {{ start_of "$pid" && [ "$start" = "$began" ]; }}; then
          kept="$kept$e $l $g $pid $began $of$newline"
          [ "$pid" != $$ ] || here=1
        else
          dead=$((dead + 1))
        fi
      done
    }} < "$sessions"
    [ "$of_boot" = "$boot" ] || dead=1000
  fi
  if [ "$known" != "$epoch" ]; then
    why=$(keep_epoch 2>&1) || refuse failed "$state cannot be written: $why"
    end_all "$doomed" && end_marked "$id:" || refuse failed "a session of an older manager does not end"
  elif [ -n "$older" ]; then
    end_all "$doomed" && end_marked "$id:$epoch:$link:" ||
      refuse failed "a session of the connection before does not end"
  fi
  start_of $$
  own=''
  [ -n "$seen" ] || own="$epoch $link $generation 0 0 0$newline"
  [ -n "$here" ] || own="$own$epoch $link $generation $$ $start $group$newline"
  if [ -e "$sessions" ] && [ -z "$doomed" ] && [ "$dead" -lt 16 ]; then
    [ -z "$own" ] || printf '%s' "$own" >> "$sessions"
  else
    printf '%s\n%s%s' "$boot" "$kept" "$own" > "$sessions.new" && mv -f "$sessions.new" "$sessions"
  fi || refuse failed "$sessions cannot be written"
  passed=1
}}
registered() {{
  # By a script before, in this shell: whoever comes to be newer ends it before anything else, so it needs no lock.
  start_of $$
  read -r known < "$state/$id.epoch" && [ "$known" = "$epoch" ] || return 1
  {{
    read -r boot
    while read -r e l g pid began of; do
      [ "$pid" != $$ ] || {{ [ "$e $l $g $began" = "$epoch $link $generation $start" ] && return 0; }}
    done
  }} < "$run/$id.sessions"
  return 1
}}
"""

_PASS = rf"""
for place in "$state" "$run"; do
  [ -d "$place" ] || why=$(mkdir -p -m 700 "$place" 2>&1) || refuse failed "$why"
done
passed=''
[ -z "$stays" ] || ! registered 2>/dev/null || passed=1
[ -n "$passed" ] || {{
  flock -w {PATIENCE_S} 9 || refuse failed "$state/$id.lock is held for longer than {PATIENCE_S} s"
  look
}} 9>> "$state/$id.lock"
[ -n "$passed" ] || refuse failed "$state/$id.lock cannot be opened by $(id -un)"
{MARK}="$id:$epoch:$link:$generation:"
export {MARK}
answer go $$ "$start"
"""
