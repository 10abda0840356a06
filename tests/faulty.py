"""A way to a real AWS-like server that loses answers, throttles, refuses or hangs on demand."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Faults:
    """What goes wrong next: a list of (kind, detail), used up one call after the other."""

    def __init__(self, url):
        self.upstream = urlsplit(url).netloc
        self.url = ""
        self.plan = []
        self.calls = []
        self.delay_s = 0.0
        self.list_denied = False
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    def next(self):
        return self.plan.pop(0) if self.plan else ("pass", "")

    @contextmanager
    def counted(self):
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        time.sleep(self.delay_s)
        yield
        with self._lock:
            self._running -= 1


@contextmanager
def faulty(url):
    """Yields `Faults`; its `url` is the way through."""
    faults = Faults(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            with faults.counted():
                self.handle_call()

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST

        def handle_call(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            faults.calls.append(self.headers.get("X-Amz-Target", "").rpartition(".")[2])
            kind, detail = faults.next()
            if faults.list_denied and "list-type=2" in self.path:
                kind, detail = "status", "403"
            if kind == "refuse":
                status = 500 if detail == "InternalServerError" else 400
                self.answer(
                    status, {"__type": f"com.amazonaws.dynamodb#{detail}", "message": detail}
                )
                return
            if kind == "cancel":
                reasons = [{"Code": detail}] + [{"Code": "None"}] * 9
                self.answer(
                    400,
                    {
                        "__type": "com.amazonaws.dynamodb#TransactionCanceledException",
                        "message": "cancelled",
                        "CancellationReasons": reasons,
                    },
                )
                return
            if kind == "status":
                self.send_response(int(detail))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if kind == "cut":  # before it reached the server
                self.close_connection = True
                return
            upstream = http.client.HTTPConnection(faults.upstream)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            upstream.close()
            if kind == "lose":  # it happened, and nobody hears of it
                self.close_connection = True
                return
            if kind == "hang":
                time.sleep(float(detail))
                self.close_connection = True
                return
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(key, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)

        def answer(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    faults.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
