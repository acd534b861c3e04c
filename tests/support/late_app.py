"""An application that listens only when it is told to, and may be too late then; Python's standard library alone.

It writes its port to CALLS/PORT, and waits for CALLS/PORT.go. Where it cannot listen it ends, or stays up (STAYS=1).
"""

import http.server
import os
import sys
import time
from pathlib import Path

PORT = os.environ["PORT"]
CALLS = Path(os.environ["CALLS"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = os.environ["RELEASE_VERSION"].encode()
        self.send_response(200)
        self.send_header("X-Version", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


(CALLS / f"{PORT}.new").write_text(PORT)
(CALLS / f"{PORT}.new").rename(CALLS / PORT)
while not (CALLS / f"{PORT}.go").exists():
    time.sleep(0.01)
try:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler)
except OSError as error:
    print(f"cannot listen on {PORT}: {error}", flush=True)
    if os.environ.get("STAYS"):
        time.sleep(600)
    sys.exit(1)
server.serve_forever()
