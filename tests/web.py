"""A web server of this machine: it may cut connections, refuse to resume, or say what it should not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """Files by path, and how they are served; ``asked`` is the list of (path, Range header or None)."""

    files: dict[str, bytes]
    url: str = ""
    cut: int | None = None  # bytes after which the next connection breaks
    version: str | None = '"1"'  # the ETag
    resumes: bool = True
    kind: str = "application/octet-stream"
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Web]:
    """Serve files until the block ends."""
    web = Web(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            web.asked.append((self.path, wanted))
            content = web.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and web.resumes else 0
            if self.headers["If-Range"] not in (None, web.version):
                start = 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", web.kind)
            self.send_header("Content-Length", str(len(content) - start))
            if web.version:
                self.send_header("ETag", web.version)
            self.end_headers()
            cut, web.cut = web.cut, None
            with suppress(ConnectionError):  # who was told what a page it is may have gone
                self.wfile.write(content[start : None if cut is None else start + cut])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
