"""`longshore` on a disk that takes ten seconds for each file that is copied."""

from __future__ import annotations

import shutil
import time
from typing import Any

from longshore.__main__ import main
from longshore.files import takeover


class SlowDisk:
    def __getattr__(self, name: str) -> Any:
        return getattr(shutil, name)

    def copyfile(self, *args: Any, **options: Any) -> Any:
        time.sleep(10.0)
        return shutil.copyfile(*args, **options)


if __name__ == "__main__":
    takeover.shutil = SlowDisk()  # type: ignore[assignment]
    main()
