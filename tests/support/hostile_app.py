"""An application that misbehaves in the way MODE says; Python's standard library alone, started with -S -E.

It answers each request on a thread: /pid with its process id, /crash by ending, anything else with its version.
"""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

MODE = os.environ.get("MODE", "ok")
VERSION = os.environ["RELEASE_VERSION"]
COUNT, DROPS = [0], [0]


def wait():
    while True:
        signal.pause()


def answer(connection):
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            block = connection.recv(4096)
            if not block:
                return
            head += block
        path = head.split(b" ", 2)[1].decode()
        if MODE == "drops" and path == "/":
            DROPS[0] += 1
            if DROPS[0] % 8 == 0:
                return
        status, text = respond(path)
        body = text.encode()
        connection.sendall(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
        )


def respond(path):
    if path == "/crash":
        print("crashing because I was asked to", flush=True)
        os._exit(7)
    if path == "/pid":
        return 200, str(os.getpid())
    if path == "/health":
        return (503, "the database is away") if MODE == "unhealthy" else (200, "fine")
    if path == "/ready":
        return 200, "ready"
    if path == "/cwd":
        return 200, str(Path.cwd())
    if path.startswith("/env/"):
        return 200, os.environ.get(path[5:], "")
    COUNT[0] += 1
    if MODE == "errors" and COUNT[0] % 5 == 0:
        return 500, "every fifth request fails"
    if MODE == "some-errors" and COUNT[0] % 20 == 0:
        return 500, "every twentieth request fails"
    if MODE == "slow":
        time.sleep(0.3)
    time.sleep(float(os.environ.get("ANSWER_S", "0")))
    return 200, VERSION


def serve(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    print(f"{VERSION} listens on {port}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


if MODE == "exits":
    for number in range(40):
        print(f"line {number}", flush=True)
    print("no configuration file, giving up", file=sys.stderr)
    sys.exit(3)
if MODE in ("silent", "worker"):
    print("I wait", flush=True)
    wait()
if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MODE == "daemon":
    if os.fork():
        sys.exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
if MODE == "loop":
    time.sleep(0.3)
    if Path(os.environ["FLAG"]).exists():
        print("the flag is there: I crash", flush=True)
        sys.exit(9)
serve(int(os.environ["WRONG_PORT"]) if MODE == "wrong-port" else int(os.environ["PORT"]))
