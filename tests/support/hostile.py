"""A real manager to be hostile to: a process of its own, and nothing of what it ran is left afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from longshore.routers.envoy.router import EnvoyRouter

ROOT = "/api/v1/deployments"
APP = Path(__file__).with_name("hostile_app.py")
RUN = (sys.executable, "-S", "-E", "app.py")
QUICK = {"interval": "100ms", "timeout": "1s", "deadline": "10s", "healthy_threshold": 1}


def until(what: str, true: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What `true` answers once it is true; fails naming `what` after that many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.02)
    return answer


def processes(mark: str) -> list[int]:
    """Pids of live processes whose command line or environment holds `mark`, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in text and state not in "ZX":
            found.append(int(entry.name))
    return found


class Hostile:
    """One manager, and what tests do to it."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        first = random.randrange(20_000, 29_500)
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("LONGSHORE_")} | {
            "LONGSHORE_DATA_DIR": str(self.data_dir),
            "LONGSHORE_ROUTER__LISTEN_HOST": "127.0.0.1",
            "LONGSHORE_INSTANCE_PORTS": f"{first}-{first + 400}",
            **{f"LONGSHORE_RATE_LIMITS__{each}": "0" for each in ("DEPLOY", "STATUS", "LIST")},
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._listen = "127.0.0.1:0"
        self.http = httpx2.Client()

    # --- the manager

    def start(self) -> None:
        self.data_dir.mkdir(exist_ok=True)
        stated = self.data_dir / "server.json"
        stated.unlink(missing_ok=True)
        with (self.directory / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "longshore", "serve", "--listen", self._listen],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until("the start of the manager", lambda: self._process.poll() is not None or stated.exists(), 30)
        assert self._process.poll() is None, self.log()
        url = json.loads(until("a complete server.json", stated.read_text))["url"]
        self._listen = url.removeprefix("http://")
        self.http.close()
        token = self.data_dir / "admin.token"
        # Without authentication there is none.
        self.token = token.read_text().strip() if token.exists() else "none"
        self.http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(15)

    def log(self) -> str:
        return (self.directory / "serve.log").read_text(errors="replace")

    def close(self) -> None:
        try:
            if self._process is None or self._process.poll() is not None:
                self.start()
            for row in self.http.get(f"{ROOT}?limit=500").json()["deployments"]:
                self.take_down(row["name"])
        finally:
            self.http.close()
            self.end()
            if (self.data_dir / "envoy").exists():
                asyncio.run(EnvoyRouter(self.data_dir / "envoy", on_event=lambda *_: None).shutdown())

    def take_down(self, name: str) -> None:
        last = self.http.get(f"{ROOT}/{name}/rollouts?limit=1").json()["rollouts"]
        if last and last[0]["end_time"] is None:
            self.http.post(f"{ROOT}/{name}/rollouts/{last[0]['id']}/abort", json={})
            self.over(name, last[0]["id"])
        answer = self.http.delete(f"{ROOT}/{name}")
        assert answer.status_code in (200, 404), answer.text

    @property
    def listen(self) -> str:
        return self._listen

    # --- what is deployed

    def app(self, version: str = "1", name: str = "app") -> str:
        """A directory with the application; each version's content differs."""
        directory = self.directory / "artifacts" / name / version
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(APP, directory / "app.py")
        (directory / "VERSION").write_text(version)
        return str(directory)

    def site(self, version: str, name: str = "site") -> str:
        directory = self.directory / "artifacts" / name / version
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "index.html").write_text(version)
        return str(directory)

    def spec(self, name: str, version: str, **fields: Any) -> dict[str, Any]:
        """A whole deploy request of the application with short limits; `fields` override. mode: its MODE."""
        mode, environment = fields.pop("mode", "ok"), fields.pop("configuration", {})
        given = {
            "name": name,
            "version": version,
            "artifact_path": self.app(version),
            "command": list(RUN),
            "configuration": {"MODE": mode, "TEST": str(self.directory), **environment},
            "health_check": QUICK,
            "drain_timeout": "2s",
            "stop_timeout": "1s",
            "blue_green": {"keep_old": "0s"},
            **fields,
        }
        return {key: value for key, value in given.items() if value is not None}

    def deploy(self, name: str, version: str, **fields: Any) -> httpx2.Response:
        return self.http.post(ROOT, json=self.spec(name, version, **fields))

    def deployed(self, name: str, version: str, **fields: Any) -> dict[str, Any]:
        """The result of a deploy that has to succeed."""
        answer = self.deploy(name, version, **fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def refused(self, name: str, version: str, status: int, code: str, **fields: Any) -> dict[str, Any]:
        """The error of a deploy that has to fail."""
        return error_of(self.deploy(name, version, **fields), status, code)

    def begin(self, name: str, version: str, **fields: Any) -> str:
        """Id of a rollout that goes on by itself."""
        answer = self.http.post(ROOT, json=self.spec(name, version, **fields), headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def rollout(self, name: str, id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"{ROOT}/{name}/rollouts/{id}").json()
        return answer

    def over(self, name: str, id: str, seconds: float = 30) -> dict[str, Any]:
        def ended() -> Any:
            rollout = self.rollout(name, id)
            return rollout if rollout["end_time"] is not None else None

        return until(f"the end of the rollout of {name}", ended, seconds)

    def rollback(self, name: str, version: str | None = None) -> httpx2.Response:
        return self.http.post(f"{ROOT}/{name}/rollback", json={} if version is None else {"version": version})

    def status(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"{ROOT}/{name}").json()
        return answer

    def health(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"{ROOT}/{name}/health").json()
        return answer

    def events(self, name: str) -> str:
        """The messages, one a line, oldest first."""
        rows = self.http.get(f"{ROOT}/{name}/events?limit=500").json()["events"]
        return "\n".join(f"{row['type']}: {row['message']}" for row in reversed(rows))

    def until_state(self, name: str, state: str, health: str) -> dict[str, Any]:
        def reached() -> Any:
            status = self.status(name)
            return status if (status["state"], status["health"]) == (state, health) else None

        return until(f"{name} being {state}/{health}", reached)


def error_of(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code, error
    return error


def ask(port: int, path: str = "/") -> str:
    """What the application behind a public port answers."""
    answer = httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=10, trust_env=False)
    return f"{answer.status_code} {answer.text}"


@contextmanager
def hostile_manager(**settings: str) -> Iterator[Hostile]:
    """A manager on a short path (the router's socket lies below it), gone with all it runs at the end."""
    directory = Path(tempfile.mkdtemp(prefix="lsh-"))
    manager = Hostile(directory, **settings)
    try:
        manager.start()
        yield manager
    finally:
        manager.close()
        left = processes(str(directory))
        shutil.rmtree(directory)
        assert not left, f"processes left behind: {left}"


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """A foreign program's port."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        yield int(listener.getsockname()[1])
