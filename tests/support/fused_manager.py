"""`longshore` with a fuse: it kills itself, by SIGKILL, at the n-th write to its store after the fuse was set.

The fuse is a file in the data directory, `POINT N DELAY SIGNAL`: at the N-th "begin" (nothing is written yet), "commit"
(written, not on disk) or "committed" (on disk, nobody told), or that many seconds later, in the middle of whatever is
done by then. It is read at the next write, in place of any that was read before. With SIGSTOP the manager only stands
still there, so that a test can let something arrive at that very moment. What the fuse has come to stands in `burnt`,
how many transactions there were so far in `writes`, so that a test can choose N.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from pathlib import Path

import longshore.app
from longshore.__main__ import main


class Fuse:
    def __init__(self, data_dir: Path) -> None:
        self.file, self.burnt = data_dir / "fuse", data_dir / "burnt"
        self.point, self.left, self.delay_s, self.signal = "", 0, 0.0, signal.SIGKILL
        self.count = 0
        self.counter = os.open(data_dir / "writes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def __call__(self, point: str) -> None:
        if point == "begin":
            self.count += 1
            os.pwrite(self.counter, b"%d\n" % self.count, 0)
            if self.file.exists():
                self.point, number, delay, sent = self.file.read_text().split()
                self.left, self.delay_s, self.signal = int(number), float(delay), signal.Signals(int(sent))
                self.file.unlink()
        if self.left and point == self.point:
            self.left -= 1
            if self.left:
                return
            self.burnt.touch()
            if not self.delay_s:
                os.kill(os.getpid(), self.signal)
            else:
                threading.Timer(self.delay_s, os.kill, (os.getpid(), self.signal)).start()


if __name__ == "__main__":
    fuse = Fuse(Path(os.environ["FUSED_DATA_DIR"]))
    # Everything else of the program, its command line included, is the real thing.
    longshore.app.serve = functools.partial(longshore.app.serve, on_write=fuse)  # type: ignore[assignment]
    main()
