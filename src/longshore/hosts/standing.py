"""Shells on a host that stay for the next script: to start one costs sshd and sudo many times what a script does.

    started ─► script ─► script ─► … idle for IDLE_S, or its connection is closed ─► gone
                 └─ in doubt (cancelled, too long, refused): ended, with all that it runs

Each script passes the guard by itself, in a subshell: nothing that it sets is there for the next one. The shell reads
them from its standard input as they come, each of them one command: nothing of it is done before its last byte is
there. What a script is given goes the same way, so it is sent once the guard has let the script pass, when the shell
has read the command and nothing beyond it; and as what it says goes the same ways as the next one's, that has an end:

    ─► { ( script ) … }  ◄─ the guard's answer  ─► input       ◄─ stdout and stderr, each: … "\nMARK STATUS\n"
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from longshore.hosts.base import Done

if TYPE_CHECKING:
    from longshore.hosts.sessions import Reader, Session

#: bytes of input that are sent with a script; for more, and for what is streamed, it has a session of its own
INPUT_MOST = 64 * 1024
#: seconds without a script after which a shell is closed
IDLE_S = 10.0
#: bytes read at once
BLOCK = 64 * 1024

#: what the far side is to start: a shell that reads what to do from its standard input
SHELL = "/bin/sh -s"

# `$$` is this shell in subshells too, so what the guard registers, and what is ended with all that it runs, is this
# one. Input is read whole whatever the script takes of it: what was left would be the next command.
_ALONE = b"{ (\n%s\n) < /dev/null\n%s}\n"
_FED = b"{ head -c %d | { (\n%s\n); c=$?; cat > /dev/null; exit $c; }\n%s}\n"
_END = rb'c=$?; printf "\n%s %%d\n" $c; printf "\n%s %%d\n" $c >&2; '


class Standing:
    """One such shell. session: of SHELL, which has been told nothing yet. words: guard.words(). close: gives it up."""

    def __init__(self, session: Session, words: bytes, close: Callable[[], None]) -> None:
        self.session, self.close = session, close
        mark = secrets.token_hex(8).encode()
        self._words, self._last = words, _END % (mark, mark)
        #: scripts that it has run to their ends
        self.ran = 0
        self._end = re.compile(rb"\n%s (\d+)\n\Z" % mark)
        self._longest = len(mark) + 8

    @property
    def unheard(self) -> bool:
        """It was ended, by somebody else, before the guard has let the script pass that was sent last."""
        return self.session.process is None and self.session.stdout.at_eof()

    async def send(self, script: bytes, input_size: int) -> None:
        """A script of guard.passing(). Then the guard's answer is read, the input fed, and the rest read."""
        self.session.process = None
        command = _FED % (input_size, script, self._last) if input_size else _ALONE % (script, self._last)
        words, self._words = self._words, b""
        await self.feed(words + command)

    async def feed(self, input: bytes) -> None:
        self.session.stdin.write(input)
        await self.session.stdin.drain()

    async def rest(self) -> Done:
        """What the script has said after the guard, and how it ended, or how the shell has if it was ended with it.
        Raises HostUnreachable where the connection was lost."""
        (stdout, code), (stderr, _) = await asyncio.gather(
            self._framed(self.session.stdout), self._framed(self.session.stderr)
        )
        if code is None:
            return Done(await self.session.ended(), stdout, stderr)
        self.ran += 1
        return Done(code, stdout, stderr)

    async def _framed(self, reader: Reader) -> tuple[bytes, int | None]:
        said = bytearray()
        while block := await reader.read(BLOCK):
            said += block
            if end := self._end.search(said, max(0, len(said) - self._longest)):
                return bytes(said[: end.start()]), int(end[1])
        return bytes(said), None


class Idle:
    """Room for one shell that waits."""

    def __init__(self) -> None:
        self._shell: Standing | None = None
        self._of: object = None
        self._closing: asyncio.TimerHandle | None = None

    def put(self, connection: object, shell: Standing) -> bool:
        """Whether there was room: there is none while one of the same connection waits."""
        if self._shell is not None and self._of is connection:
            return False
        self.close()
        self._of, self._shell = connection, shell
        self._closing = asyncio.get_running_loop().call_later(IDLE_S, self.close)
        return True

    def take(self, connection: object) -> Standing | None:
        """The one of this connection, if there is one; one of another connection is gone with it."""
        shell = self._shell if self._of is connection else None
        if shell is not None and shell.session.stdout.at_eof():
            shell = None
        if shell is not None:
            self._shell = None
        self.close()
        return shell

    def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        if self._shell is not None:
            self._shell.close()
        self._closing, self._shell, self._of = None, None, None
