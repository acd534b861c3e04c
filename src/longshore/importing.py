"""How the server is imported: most of what a manager's start costs, and so of what its recovery costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """For imports of what stays until the end of the process, done by its main program. It saves some 15 % of a start.

    Modules are no garbage, so none is looked for meanwhile, nor ever again among them. Models of pydantic are built
    when they are first used: most are FastAPI's of the OpenAPI document, or describe answers in it.
    """
    from pydantic import BaseModel

    collecting = gc.isenabled()
    gc.disable()
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
        gc.freeze()
        if collecting:
            gc.enable()
