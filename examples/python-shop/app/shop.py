"""A small shop front: nothing but the standard library. PORT, HOST and RELEASE_VERSION come from the environment."""

import base64
import hashlib
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

VERSION = os.environ.get("RELEASE_VERSION", "dev")
GREETING = os.environ.get("GREETING", "Welcome")
STOPPING = threading.Event()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that an idle keep-alive connection is kept

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        seconds = float(parse_qs(url.query).get("s", ["1"])[0])
        if url.path == "/":
            self.answer(f"{GREETING} to version {VERSION}\n".encode())
        elif url.path == "/health":
            self.answer(b"ok\n")
        elif url.path == "/slow":
            time.sleep(seconds)
            self.answer(b"at last\n")
        elif url.path == "/events":
            self.events()
        elif url.path == "/ws" and "Sec-WebSocket-Key" in self.headers:
            self.websocket()
        else:
            self.answer(b"no such page\n", 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/echo":
            self.answer(body)
        else:
            self.answer(b"no such page\n", 404)

    def answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if STOPPING.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def events(self) -> None:
        """The time, once a second, until this version leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while not STOPPING.wait(1):
            self.wfile.write(f"data: {time.strftime('%H:%M:%S')} from {VERSION}\n\n".encode())
            self.wfile.flush()

    def websocket(self) -> None:
        """Echo every message (RFC 6455; messages up to 64 KiB)."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2:
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(self.rfile.read(2), "big")
            if size == 127 or not head[1] & 0x80:  # too long, or not masked
                return
            mask = self.rfile.read(4)
            message = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(size)))
            opcode = head[0] & 0x0F
            reply = {0x9: 0xA}.get(opcode, opcode)  # a ping is answered with a pong, everything else with itself
            length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
            self.wfile.write(bytes([head[0] & 0x80 | reply]) + length + message)
            if opcode == 0x8:
                return


def main() -> None:
    server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Shop)
    server.daemon_threads = False  # whoever is being served is served to the end

    def stop(*_: object) -> None:
        STOPPING.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print(f"shop {VERSION} on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
