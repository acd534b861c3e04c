"""The command as a process of its own: what it imports, how it exits, what it writes on a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from support.fake_manager import ROOT, Answer, Socket, progress, rollout, summary

COMMAND = [sys.executable, "-m", "longshore"]
PAGE = {"deployments": [summary("shop", state="failed")], "total": 1, "limit": 200, "offset": 0}


def environment(manager, **more):
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return clean | {"LONGSHORE_URL": manager.url, "LONGSHORE_TOKEN": "t", "TERM": "xterm", "COLUMNS": "100"} | more


def on_terminal(manager, *args, **more):
    """What the command writes where standard output is a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen([*COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, env=environment(manager, **more)):
        os.close(slave)
        written = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            written += chunk
    os.close(master)
    return written.decode()


def modules_of(*args):
    code = f"import sys, runpy; sys.argv = ['longshore', *{args!r}]\n" + (
        "try: runpy.run_module('longshore', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_help_imports_neither_the_client_nor_the_server():
    loaded = modules_of("--help")
    assert not any(f"'{name}'" in loaded for name in ("rich", "httpx2", "websockets", "pydantic", "fastapi", "sqlite3"))


def test_a_command_of_the_client_does_not_import_the_server():
    loaded = modules_of("list", "--url", "http://127.0.0.1:1")
    assert not any(f"'{name}'" in loaded for name in ("rich", "pydantic", "fastapi", "uvicorn", "sqlite3"))


@pytest.mark.parametrize(
    ("args", "status"),
    [(["--help"], 0), (["--version"], 0), (["list", "--url", "http://127.0.0.1:1"], 1), (["nonsense"], 2),
     (["scale", "shop", "many"], 2), (["scale", "shop", "-1"], 2), (["deploy", "--strategy", "hope"], 2)],
)  # fmt: skip
def test_the_exit_status_is_0_done_1_failed_2_usage(args, status):
    assert subprocess.run([*COMMAND, *args], capture_output=True).returncode == status


def test_a_command_that_does_not_exist_is_refused_by_name():
    assert "nonsense" in subprocess.run([*COMMAND, "nonsense"], capture_output=True, text=True).stderr


def test_a_terminal_gets_colours_and_relative_times(manager):
    manager.on("GET", "", Answer(body=PAGE))
    written = on_terminal(manager, "list")
    assert "\x1b[31mfailed" in written
    assert " ago" in written


def test_no_color_is_respected(manager):
    manager.on("GET", "", Answer(body=PAGE))
    assert "\x1b" not in on_terminal(manager, "list", NO_COLOR="1")


def test_a_terminal_gets_a_bar_and_each_step_with_its_time(manager):
    manager.on("POST", "", Answer(202, rollout("running"), {"Location": f"{ROOT}/shop/rollouts/r-2"}))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout()))
    done = {"status": "success", "timestamp": "2026-03-01T12:00:01.500Z"}
    manager.sockets = [
        Socket([progress(1, 10, step="fetch"), progress(2, 50, step="fetch", **done), progress(3, 100, **done)])
    ]
    written = on_terminal(manager, "deploy", "--name", "shop", "--version", "1.1", "--artifact", "/x")
    for expected in ("✓", "fetch", "1.5 s", "█", "100 %", "serves after 2.5 s"):
        assert expected in written


def test_a_pipe_that_closes_early_is_no_traceback(manager):
    manager.on("GET", "", Answer(body=PAGE))
    shell = f"{sys.executable} -m longshore list | true"
    run = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env=environment(manager))
    assert "Traceback" not in run.stderr
