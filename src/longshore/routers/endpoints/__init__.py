"""Lists of endpoints as files that other balancers read."""

from __future__ import annotations

from collections.abc import Callable

from longshore.routers.base import Traffic
from longshore.routers.endpoints import haproxy, json_list, nginx

# To add a format: a file here with render(name, traffic) → text (None: nothing serves), which has base.MARK in its
# first lines; a line below; a section in docs/guide/traffic.md. tests/unit/routers/test_endpoint_formats.py and
# tests/docs then cover it by themselves.
FORMATS: dict[str, Callable[[str, Traffic | None], str]] = {
    "haproxy": haproxy.render,
    "nginx": nginx.render,
    "json": json_list.render,
}
