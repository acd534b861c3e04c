"""What a spec says of its port, and of where its health is asked for."""

from __future__ import annotations

import socket

import pytest

from longshore.model import is_local_http
from support.makers import make_spec


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/health",
        "http://LOCALHOST/",
        "http://shop.localhost:81",
        "http://127.0.0.1:80/",
        "http://127.9.9.9/",
        "http://[::1]:8080/",
        "http://0.0.0.0:8080/",
        f"http://{socket.gethostname().upper()}:8080/",
    ],
)
def test_http_on_this_machine_is_local(url: str) -> None:
    assert is_local_http(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/",
        "http://example.org/",
        "http://10.0.0.1:8080/",
        "http://localhost.example.org/",
        "http:///x",
        "",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert not is_local_http(url)


@pytest.mark.parametrize(
    ("fields", "port", "path", "external"),
    [
        ({}, None, None, None),
        ({"port": 9000}, 9000, None, None),
        ({"health_check_url": "http://localhost:8080/up?x=1"}, 8080, "/up?x=1", None),
        ({"health_check_url": "http://localhost"}, 80, "/", None),
        ({"health_check_url": "http://localhost:8080/up", "port": 9000}, 9000, "/up", None),
        ({"health_check_url": "https://shop.example.org/up"}, None, None, "https://shop.example.org/up"),
        ({"health_check_url": "https://a.example/", "port": 9000}, 9000, None, "https://a.example/"),
    ],
)
def test_a_health_url_here_names_port_and_path_and_one_elsewhere_is_polled(
    fields: dict[str, object], port: int | None, path: str | None, external: str | None
) -> None:
    spec = make_spec(**fields)
    assert (spec.public_port, spec.probe_path, spec.external_check) == (port, path, external)
