"""Real balancers of a user's own: HAProxy and nginx, as Debian has them, in a directory of the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ["PATH"] += ":/usr/sbin:/sbin"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed (apt: haproxy)")
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (apt: nginx-light)")


def haproxy_config(directory: Path, port: int) -> Path:
    """What a user has beside the rendered `shop.cfg`: a frontend on `port` that uses its backend."""
    path = directory / "haproxy.cfg"
    path.write_text(
        "global\n"
        f"    stats socket {directory}/admin.sock mode 600 level admin\n"
        "defaults\n"
        "    mode http\n"
        "    timeout connect 2s\n"
        "    timeout client 30s\n"
        "    timeout server 30s\n"
        "frontend public\n"
        f"    bind 127.0.0.1:{port}\n"
        "    use_backend shop\n"
    )
    return path


def nginx_config(directory: Path, port: int) -> Path:
    """What a user has beside the rendered `shop.conf`: a server on `port` that passes to its upstream."""
    path = directory / "nginx.conf"
    temporary = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"daemon off; user root; worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        "events { worker_connections 1024; }\n"
        "http {\n"
        "    access_log off;\n"
        f"{temporary}"
        f"    include {directory}/shop.conf;\n"
        "    server {\n"
        f"        listen 127.0.0.1:{port};\n"
        "        location / { proxy_pass http://shop; }\n"
        "    }\n"
        "}\n"
    )
    return path


@contextmanager
def haproxy(directory: Path, port: int) -> Iterator[str]:
    """HAProxy as a master with workers, with the `shop.cfg` that is there. Gives the command that reloads it."""
    config = haproxy_config(directory, port)
    rendered = directory / "shop.cfg"
    arguments = f"-f {config} -f {rendered}"
    log = (directory / "haproxy.log").open("wb")
    process = subprocess.Popen(
        ["haproxy", "-W", *arguments.split()],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    log.close()
    with _ended(process, signal.SIGTERM):
        _until_there(directory / "admin.sock", process)
        yield f"haproxy -c {arguments} && kill -USR2 {process.pid}"


@contextmanager
def nginx(directory: Path, port: int) -> Iterator[str]:
    """nginx, with the `shop.conf` that is there. Gives the command that reloads it."""
    config = nginx_config(directory, port)
    process = subprocess.Popen(
        ["nginx", "-c", str(config)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with _ended(process, signal.SIGTERM):
        _until_there(directory / "nginx.pid", process)
        yield f"nginx -c {config} -s reload"


# --- private


@contextmanager
def _ended(process: subprocess.Popen[bytes], number: signal.Signals) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def _until_there(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"not within 10 s: {path}"
        time.sleep(0.02)
