"""Real balancers of a user's own: HAProxy and nginx, as Debian has them, configured as the guide says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.documents import blocks_of

GUIDE = "docs/guide/traffic.md"
os.environ["PATH"] += ":/usr/sbin:/sbin"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed (apt: haproxy)")
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (apt: nginx-light)")


def first_file(suffix: str, directory: Path) -> Path:
    """The file that the guide has a user begin with."""
    commands = "".join(blocks_of(GUIDE, "console"))
    command = next(line[2:] for line in commands.splitlines() if line.endswith(f"/shop.{suffix}"))
    path = directory / f"shop.{suffix}"
    subprocess.run(["sh", "-c", re.sub(r"> .*", f"> {path}", command)], check=True)
    return path


def haproxy_config(directory: Path, port: int) -> Path:
    """The guide's, on `port`."""
    (block,) = blocks_of(GUIDE, "haproxy")
    path = directory / "haproxy.cfg"
    stats = f"global\n    stats socket {directory}/admin.sock mode 600 level admin\n"
    path.write_text(stats + block.replace("bind :8080", f"bind 127.0.0.1:{port}"))
    return path


def nginx_config(directory: Path, port: int) -> Path:
    """The guide's on `port`, with what surrounds it and may not be root's."""
    (block,) = blocks_of(GUIDE, "nginx")
    block = block.replace("/etc/nginx/longshore/*.conf", f"{directory}/shop.conf")
    path = directory / "nginx.conf"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        f"daemon off; {user} worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        "events { worker_connections 1024; }\n"
        "http {\naccess_log off;\n"
        f"{temporary}{block.replace('listen 8080', f'listen 127.0.0.1:{port}')}}}\n"
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
