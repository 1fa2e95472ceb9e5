"""A small server of HTTP, with ranges or without, whose files may need a password or a query."""

import contextlib
import email.utils
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Web:
    """Serves the files of a folder; `asked` are the ranges that were asked for, with the paths."""

    def __init__(self, folder: Path, ranges: bool = True, secret: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        self.folder = folder
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                said = self.headers.get("Range", "")
                web.asked.append((path, said))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, found = web.reply(self.command, path, body)
                if found is not None:
                    self.answer(200, json.dumps(found).encode())
                    return
                file = folder / path.lstrip("/")
                if secret and secret not in query + self.headers.get("Authorization", ""):
                    self.answer(403, b"no")
                elif not file.is_file():
                    self.answer(404, b"nothing")
                else:
                    self.give(file, said)

            do_HEAD = do_POST = do_GET  # noqa: N815 - http.server's

            def give(self, file: Path, said: str) -> None:
                data = file.read_bytes()
                when = email.utils.formatdate(file.stat().st_mtime, usegmt=True)
                more = {"Last-Modified": when, "ETag": f'W/"{hash(data)}"'}
                span = re.fullmatch(r"bytes=(\d+)-(\d+)", said)
                if span is None or not ranges:
                    self.answer(200, data, more)
                    return
                begin, end = int(span[1]), min(int(span[2]) + 1, len(data))
                if begin >= len(data):
                    self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                    return
                more["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
                self.answer(206, data[begin:end], more)

            def answer(self, status: int, data: bytes, more: dict[str, str] | None = None) -> None:
                self.send_response_only(status)
                for name, value in (more or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    if self.command != "HEAD":
                        self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # who asks may go away at any time

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reply(self, method: str, path: str, body: bytes) -> tuple[str, Any]:
        """Give the path of the file that is asked for, or something to be said in JSON."""
        return path, None

    def end(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def web(folder: Path, ranges: bool = True, secret: str = "") -> Iterator[Web]:
    """Serve the files of a folder for a while."""
    found = Web(folder, ranges, secret)
    try:
        yield found
    finally:
        found.end()
