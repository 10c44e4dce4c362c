"""A file server on 127.0.0.1 that misbehaves on request, in a thread of the test."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `content` at every path.

    Attributes:
        faults: one for each coming request, then none: `"truncate"` closes half-way, `"stall"` stops half-way without
            closing, `"corrupt"` flips a bit, an int is an HTTP status.
        ranges: whether byte ranges are understood.
        length: whether Content-Length is sent.
        requests: headers of the requests so far, as dicts.
        sent: bytes of bodies sent.
    """

    def __init__(self, content):
        self.content = content
        self.etag = '"1"'
        self.faults, self.requests = [], []
        self.ranges = self.length = True
        self.sent = 0
        self.closing = threading.Event()

    def answer(self, handler):
        self.requests.append(dict(handler.headers))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            handler.send_error(fault)
            return
        start = self._start(handler.headers)
        if start >= len(self.content):
            handler.send_error(416)
            return
        self._send(handler, start, fault)

    def _start(self, headers):
        same = headers.get("If-Range", self.etag) == self.etag
        wanted = headers.get("Range", "bytes=0-") if self.ranges and same else "bytes=0-"
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _send(self, handler, start, fault):
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        half = fault in ("truncate", "stall")
        part = body[: len(body) // 2] if half else body
        self.sent += len(part)
        handler.wfile.write(part)
        handler.wfile.flush()
        if fault == "stall":
            self.closing.wait(20)


@contextlib.contextmanager
def serve(content):
    """A running `Server`; its `url` is that of its one file."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(ConnectionError):
                server.answer(self)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/files/small.pth"
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
