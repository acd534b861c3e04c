"""The log of what runs in several places: each line after the name of its place."""

from __future__ import annotations

from pathlib import Path

from longshore.proc import BEYOND, MAX_LINE_BYTES, MAX_LOG_BYTES


class PrefixedLog:
    """Appends to a file what one place says. What has no end yet is kept until it has, as far as a line may be long."""

    def __init__(self, file: Path, prefix: str) -> None:
        self._file, self._prefix = file, prefix.encode()
        self._rest, self._left = b"", MAX_LOG_BYTES

    def add(self, said: bytes) -> None:
        """Raises OSError."""
        if self._left <= 0:
            return
        self._left -= len(said)
        *lines, self._rest = (self._rest + said).split(b"\n")
        if self._left <= 0:
            self._rest = b""
            lines.append(BEYOND)
        elif len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                file.write(b"".join(self._prefix + line + b"\n" for line in lines))

    def end(self) -> None:
        """Nothing follows. Raises OSError."""
        if self._rest:
            self.add(b"\n")
