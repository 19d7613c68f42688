"""Serve on loopback as much of the Hugging Face hub's protocol as the download of one file needs."""

from __future__ import annotations

import hashlib
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType


class Hub:
    """A server for the duration of a `with` block that answers every path that ends with `file` with `content`.

    break_after: the first GET is cut off after this many bytes of its body; later ones are complete.
    """

    def __init__(self, file: str, content: bytes, break_after: int | None = None) -> None:
        hub = self
        self.ranges: list[str | None] = []
        """The Range header of every GET; None if it had none."""
        self.break_after = break_after

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                if not self._known():
                    return
                self._headers(200, len(content))

            def do_GET(self) -> None:
                if not self._known():
                    return
                wanted = self.headers.get("Range")
                hub.ranges.append(wanted)
                start = int(re.fullmatch(r"bytes=(\d+)-.*", wanted)[1]) if wanted else 0  # type: ignore[index]
                body = content[start:]
                self._headers(206 if wanted else 200, len(body), start)
                if hub.break_after is not None:
                    body, hub.break_after = body[: hub.break_after], None
                    self.close_connection = True
                self.wfile.write(body)

            def _known(self) -> bool:
                if self.path.split("?")[0].endswith(file):
                    return True
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False

            def _headers(self, status: int, length: int, start: int = 0) -> None:
                self.send_response(status)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", "a" * 40)
                self.send_header("X-Linked-Size", str(len(content)))
                self.send_header("Content-Length", str(length))
                self.send_header("Accept-Ranges", "bytes")
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                del format, arguments

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
