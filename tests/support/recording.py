"""What a process does to the files below a directory, seen from outside: `strace` (Debian: apt-get install strace).

    program = traced(command, log)        run this in the place of `command`; it has the pid that the command would have
    Recording(root).add(log)              its calls, in order, as changes of a Disk (support/power.py)

All threads are followed, programs that are executed are not (`--detach-on=execve`): instances and Envoy keep nothing
below the directory that a manager needs. A call that is not known here is an error, and what all calls add up to is
compared with the disk (`assert_complete`), so nothing is left out unseen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.power import Disk

STRACE = shutil.which("strace")
_CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync_file_range,syncfs,sync,"
    "msync,lseek,close,dup,dup2,dup3,copy_file_range,sendfile,splice,chmod,fchmod,fchmodat,clone,clone3,fork,vfork"
)
_LINE = re.compile(r"(?P<tid>\d+) +(?P<time>\d+\.\d+) (?P<rest>.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<name>\w+)\((?P<args>.*)\)\s+= (?P<result>-?\d+|\?)(?:<(?P<path>[^>]*)>)?", re.DOTALL)
#: seconds strace may take to write down the end of what it follows
END_S = 10.0


def why_not() -> str:
    """What keeps anything from being recorded here; "": nothing."""
    if STRACE is None:
        return "strace is not installed (apt-get install strace)"
    command = [STRACE, "-b", "execve", "-o", os.devnull, "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace cannot follow processes here: {tried.stderr.strip()}"


def traced(command: tuple[str, ...], log: Path) -> tuple[str, ...]:
    """-D: strace is no parent of what it follows. -xx -s: every string in hexadecimal, and whole."""
    assert STRACE is not None
    follow, print_ = ("-D", "-f", "-b", "execve"), ("-q", "-xx", "-ttt", "-s", "10000000")
    return (STRACE, *follow, *print_, "-o", str(log), "-e", f"trace={_CALLS}", *command)


@dataclass
class _Open:
    inode: int
    position: int
    append: bool


class Recording:
    """Feeds a Disk with the calls in logs of strace, one log for each process, in the order they ran."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = Disk()
        self._umask = os.umask(0o022)
        os.umask(self._umask)

    def add(self, log: Path, pid: int) -> None:
        """The calls of the process `pid`, which has ended. Raises AssertionError for one that is not known."""
        _Reader(self, pid).read(_lines(log, pid))

    def assert_complete(self) -> None:
        """What all calls add up to is what is there. The -shm of SQLite is written through memory, and never read
        after the machine has been started anew: the first to open it empties it (os_unix.c, unixOpenSharedMemory)."""
        expected, found = self.disk.everything().listing(), dict(_listing(self.root))
        # Instances and Envoy write their own logs.
        expected, found = ({k: v for k, v in seen.items() if not k.endswith(".log")} for seen in (expected, found))
        assert expected.keys() == found.keys(), sorted(expected.keys() ^ found.keys())
        different = [name for name in found if expected[name] != found[name] and not name.endswith("-shm")]
        assert not different, [(name, str(expected[name])[:200], str(found[name])[:200]) for name in different]


# --- private


def _lines(log: Path, pid: int) -> list[str]:
    deadline = time.monotonic() + END_S
    while True:
        lines = log.read_text(encoding="ascii").splitlines()
        if any(line.startswith(f"{pid} ") and "+++" in line for line in lines[-50:]):
            return lines
        assert time.monotonic() < deadline, f"strace did not write down the end of {pid} within {END_S:g} s"
        time.sleep(0.02)


def _listing(root: Path) -> Iterator[tuple[str, object]]:
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            below = str(path.relative_to(root))
            if path.is_symlink():
                yield below, str(path.readlink())
            elif path.is_dir():
                yield below, None
            elif path.is_file():
                yield below, (path.read_bytes(), path.stat().st_mode & 0o777)


class _Reader:
    def __init__(self, recording: Recording, pid: int) -> None:
        self._disk, self._root, self._umask = recording.disk, os.fsencode(recording.root), recording._umask
        self._files: dict[int, _Open] = {}
        self._threads, self._others = {pid}, set[int]()
        #: thread → (time, call as far as it is known, changes by then)
        self._begun: dict[int, tuple[float, str, int]] = {}
        self._time = 0.0

    def read(self, lines: list[str]) -> None:
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is None or found["rest"].startswith(("+++", "---")):
                continue
            tid, rest = int(found["tid"]), found["rest"]
            if not self._is_ours(tid):
                continue
            began, covered = float(found["time"]), len(self._disk.changes)
            if rest.endswith("<unfinished ...>"):
                self._begun[tid] = (began, rest.removesuffix("<unfinished ...>").rstrip(), covered)
                continue
            if resumed := _RESUMED.fullmatch(rest):
                began, text, covered = self._begun.pop(tid)
                rest = text + resumed["rest"]
            if call := _CALL.match(rest):
                # When it was known to be done: what another thread did meanwhile came before it.
                self._time = float(found["time"])
                self._take(call["name"], call["args"].split(", "), call["result"], covered)

    def _is_ours(self, tid: int) -> bool:
        """Threads share the open files; processes on their way to another program do nothing that matters."""
        if tid not in self._threads and tid not in self._others:
            # Its birth was begun, and not yet told the end of, when it did something for the first time.
            births = [text for _, text, _ in self._begun.values() if re.match(r"clone|v?fork", text)]
            thread = bool(births) and all("CLONE_FILES" in text for text in births)
            (self._threads if thread else self._others).add(tid)
        return tid in self._threads

    def _take(self, name: str, args: list[str], result: str, covered: int) -> None:
        if name in ("clone", "clone3", "fork", "vfork"):
            if result.isdigit() and int(result) not in self._others:
                (self._threads if "CLONE_FILES" in " ".join(args) else self._others).add(int(result))
            return
        if result.startswith("-") or result == "?":
            return
        handler = getattr(self, f"_{name}", None)
        if handler is None:
            fds = [int(arg) for arg in args if arg.isdigit()]
            assert not any(fd in self._files for fd in fds[:2]), f"nothing here says what {name} does"
            return
        self._disk.time = self._time
        handler(args, int(result), covered)

    # ------------------------------------------------------------------------------------------- names

    def _place(self, directory: str, name: str) -> tuple[int, bytes] | None:
        """(inode of the directory, name in it); None: not below the root."""
        path = _bytes(name)
        if not path.startswith(b"/") and directory != "AT_FDCWD":
            opened = self._files.get(int(directory))
            return None if opened is None else self._walk(opened.inode, path)
        path = os.path.normpath(path)
        if path == self._root or not path.startswith(self._root + b"/"):
            return None
        return self._walk(Disk.ROOT, path[len(self._root) + 1 :])

    def _walk(self, directory: int, path: bytes) -> tuple[int, bytes]:
        *above, last = path.split(b"/")
        for part in above:
            directory = self._disk.child(directory, part)
        return directory, last

    def _openat(self, args: list[str], fd: int, _: int) -> None:
        self._files.pop(fd, None)
        flags = args[2].split("|")
        if _bytes(args[1]).rstrip(b"/") == self._root:
            self._files[fd] = _Open(Disk.ROOT, 0, False)
            return
        if (place := self._place(args[0], args[1])) is None:
            return
        inode = self._disk.find(*place)
        if inode is not None and self._disk.is_link(inode):
            assert not {"O_CREAT", "O_TRUNC"} & set(flags), "a file is written through a link"
            return
        if inode is None:
            inode = self._disk.create(*place, mode=int(args[3], 8) & ~self._umask)
        elif "O_TRUNC" in flags:
            self._disk.truncate(inode, 0)
        self._files[fd] = _Open(inode, 0, "O_APPEND" in flags)

    def _open(self, args: list[str], fd: int, covered: int) -> None:
        self._openat(["AT_FDCWD", *args], fd, covered)

    def _mkdirat(self, args: list[str], *_: int) -> None:
        if place := self._place(args[0], args[1]):
            self._disk.make_directory(*place)

    def _mkdir(self, args: list[str], *_: int) -> None:
        path = _bytes(args[0])
        if path != self._root:
            self._mkdirat(["AT_FDCWD", *args])

    def _renameat2(self, args: list[str], *_: int) -> None:
        old, new = self._place(args[0], args[1]), self._place(args[2], args[3])
        assert (old is None) == (new is None), "something is moved in or out"
        if old and new:
            self._disk.rename(*old, *new)

    _renameat = _renameat2

    def _rename(self, args: list[str], *_: int) -> None:
        self._renameat2(["AT_FDCWD", args[0], "AT_FDCWD", args[1]])

    def _linkat(self, args: list[str], *_: int) -> None:
        old, new = self._place(args[0], args[1]), self._place(args[2], args[3])
        if old and new:
            self._disk.link(*old, *new)

    def _link(self, args: list[str], *_: int) -> None:
        self._linkat(["AT_FDCWD", args[0], "AT_FDCWD", args[1]])

    def _symlinkat(self, args: list[str], *_: int) -> None:
        if place := self._place(args[1], args[2]):
            self._disk.symlink(*place, _bytes(args[0]))

    def _symlink(self, args: list[str], *_: int) -> None:
        self._symlinkat([args[0], "AT_FDCWD", args[1]])

    def _unlinkat(self, args: list[str], *_: int) -> None:
        if place := self._place(args[0], args[1]):
            self._disk.unlink(*place)

    def _unlink(self, args: list[str], *_: int) -> None:
        self._unlinkat(["AT_FDCWD", args[0]])

    _rmdir = _unlink

    # ------------------------------------------------------------------------------------------- content

    def _pwrite64(self, args: list[str], count: int, _: int) -> None:
        if opened := self._files.get(int(args[0])):
            self._disk.write(opened.inode, int(args[3]), _bytes(args[1])[:count])

    def _write(self, args: list[str], count: int, _: int) -> None:
        if opened := self._files.get(int(args[0])):
            at = self._disk.size(opened.inode) if opened.append else opened.position
            self._disk.write(opened.inode, at, _bytes(args[1])[:count])
            opened.position = at + count

    def _lseek(self, args: list[str], position: int, _: int) -> None:
        if opened := self._files.get(int(args[0])):
            opened.position = position

    def _ftruncate(self, args: list[str], *_: int) -> None:
        if opened := self._files.get(int(args[0])):
            self._disk.truncate(opened.inode, int(args[1]))

    def _sendfile(self, args: list[str], count: int, _: int) -> None:
        """As shutil.copyfile uses it: from a file below the root, all of it in one go, to one that is new."""
        if target := self._files.get(int(args[0])):
            source = self._files[int(args[1])]
            at = target.position
            self._disk.write(target.inode, at, self._disk.content(source.inode)[at : at + count])
            target.position = at + count

    def _fchmod(self, args: list[str], *_: int) -> None:
        if opened := self._files.get(int(args[0])):
            self._disk.chmod(opened.inode, int(args[1], 8))

    def _fchmodat(self, args: list[str], *_: int) -> None:
        if (place := self._place(args[0], args[1])) and (inode := self._disk.find(*place)) is not None:
            self._disk.chmod(inode, int(args[2], 8))

    def _chmod(self, args: list[str], *_: int) -> None:
        self._fchmodat(["AT_FDCWD", *args])

    # ------------------------------------------------------------------------------------------- promises

    def _fsync(self, args: list[str], _: int, covered: int) -> None:
        if opened := self._files.get(int(args[0])):
            self._disk.sync(opened.inode, covered)

    _fdatasync = _fsync

    def _syncfs(self, args: list[str], _: int, covered: int) -> None:
        self._disk.sync(None, covered)

    _sync = _syncfs

    def _close(self, args: list[str], *_: int) -> None:
        self._files.pop(int(args[0]), None)


def _bytes(text: str) -> bytes:
    assert text[0] == text[-1] == '"', f"not a whole string: {text[:80]}"
    return bytes.fromhex(text[1:-1].replace("\\x", ""))
