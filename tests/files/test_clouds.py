"""Google Cloud Storage by an emulator, and the hub of Hugging Face by a stand-in."""

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradclip_cli
from tests.files.test_remote import MADE, SMALL, values
from tests.hub import COMMIT, MODEL, Hub
from tests.running import Run, gradclip, one_error
from tests.stores import BUCKET, Proxy, free_port

pytestmark = [
    pytest.mark.xdist_group("stores"),
    # Of aiohttp, which gcsfs gives large pieces.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[int]:
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    port = free_port()
    command = ["-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(
        [sys.executable, *command, "--in-memory", f"--default-bucket={BUCKET}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def google(emulator: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(emulator)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    yield proxy
    proxy.end()


@pytest.mark.parametrize("size", [300, 3 << 20])
def test_results_go_to_google_whole_and_on_a_condition(
    size: int, google: Proxy, tmp_path: Path, run: Run
) -> None:
    path, out = tmp_path / "g.npy", tmp_path / "out.npy"
    np.save(path, values(size))
    gradclip_cli.apply(path, clip_norm=1.0, output=out)
    url = f"gs://{BUCKET}/{size}/out.npy"
    done = run("apply", path, "--clip-norm", "1", "-o", url)
    assert (done.status, done.err) == (0, "")
    begun = [one for one in google.asked if "uploadType" in one.query]
    assert begun
    assert all("ifGenerationMatch=0" in one.query for one in begun)
    google.forget()
    assert gradclip_cli.inspect(url).global_norm == gradclip_cli.inspect(out).global_norm
    sent = sum(one.sent for one in google.asked if "alt=media" in one.query)
    assert sent <= out.stat().st_size + 2 * SMALL
    done = run("apply", path, "--clip-norm", "1", "-o", url)
    assert one_error(done.err) == f"gradclip: {url}: already exists"
    assert run("apply", path, "--clip-norm", "1", "-o", url, "--force").status == 0


def test_a_failed_result_leaves_nothing_at_google(
    google: Proxy, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "g.npy", values(3 << 20))
    url = f"gs://{BUCKET}/failed/out.npy"
    google.fault = lambda _at, asked: "AccessDenied" if "upload_id" in asked.query else ""
    done = run("apply", tmp_path / "g.npy", "--clip-norm", "1", "-o", url)
    assert done.status == 2
    assert one_error(done.err) == f"gradclip: {url}: access is denied (status 403)"
    google.forget()
    assert "no such file or folder" in run("inspect", url).err


def test_a_folder_at_google_is_read(google: Proxy, tmp_path: Path, run: Run) -> None:
    folder = MADE["shards"](tmp_path)
    url = f"gs://{BUCKET}/a/"
    done = run("apply", folder, "--clip-norm", "1", "-o", url, "--json")
    assert (done.status, done.err) == (0, "")
    assert gradclip_cli.inspect(url).global_norm == pytest.approx(1.0, rel=1e-6)
    assert "no such file or folder" in one_error(run("inspect", f"gs://{BUCKET}/nothing").err)


def test_models_of_the_hub_are_read_by_name_and_revision(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("fsspec")
    folder = MADE["shards"](tmp_path)
    norm = gradclip_cli.inspect(folder).global_norm
    hub = Hub(folder)
    asked: dict[str, Any] = {"HF_ENDPOINT": f"http://{hub.host}", "HF_HUB_DISABLE_TELEMETRY": "1"}
    asked |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    try:
        for url in (f"hf://{MODEL}", f"hf://{MODEL}@{COMMIT}/model.safetensors.index.json"):
            done = gradclip("inspect", url, **asked)
            assert (done.returncode, done.stderr) == (0, b"")
            assert repr(norm).encode() in done.stdout
        done = gradclip("inspect", f"hf://{MODEL}/missing.npy", **asked)
        assert one_error(done.stderr).startswith(f"gradclip: hf://{MODEL}/missing.npy: no such")
        done = gradclip("inspect", "hf://me/other/x.npy", **asked)
        assert one_error(done.stderr).startswith("gradclip: hf://me/other/x.npy: ")
    finally:
        hub.end()


def test_google_is_asked_no_more_often_than_others(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    pytest.importorskip("gcsfs")
    asked: list[str] = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr("gradclip_cli.files.stores.PAUSES", (0.0,))
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        done = run("inspect", f"gs://{BUCKET}/a.npy")
        server.shutdown()
    assert "the store has answered with status 503" in one_error(done.err)
    assert len(asked) == 2
