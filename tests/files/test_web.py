"""What a web server gives in ranges is read; its secrets are told nobody."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.files.urls import Url, named
from tests.files.test_remote import values
from tests.running import Run, one_error
from tests.web import web

pytestmark = pytest.mark.xdist_group("stores")
pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SECRET = "X-Amz-Signature=s3cr3t"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "g.npy", values(300_000))
    np.savez(tmp_path / "g.npz", a=values(100_000), b=values(1000, 1))
    (tmp_path / "empty.npy").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("name", ["g.npy", "g.npz"])
def test_a_file_is_read_in_ranges_and_each_byte_once(name: str, folder: Path) -> None:
    with web(folder) as server:
        report = gradclip_cli.inspect(f"http://{server.host}/{name}")
        assert report.global_norm == gradclip_cli.inspect(folder / name).global_norm
        spans = [said.removeprefix("bytes=").split("-") for _, said in server.asked]
        ranges = [(int(begin), int(end)) for begin, end in spans]
        size = (folder / name).stat().st_size
        assert sum(min(end + 1, size) - begin for begin, end in ranges) <= size + 10


def test_a_server_without_ranges_is_refused_before_it_sends_all(folder: Path, run: Run) -> None:
    with web(folder, ranges=False) as server:
        done = run("inspect", f"http://{server.host}/g.npy")
    assert done.status == 2
    assert "its server gives whole files alone, and no ranges" in one_error(done.err)


@pytest.mark.parametrize("command", ["inspect", "check", "trend", "diff"])
def test_a_password_and_a_query_let_one_in_and_are_not_told(
    command: str, folder: Path, run: Run
) -> None:
    for secret, form in ((SECRET, "http://{}/g.npy?" + SECRET), ("Basic", "http://me:pw@{}/g.npy")):
        with web(folder, secret=secret) as server:
            url, shown = form.format(server.host), f"http://{server.host}/g.npy"
            more = [folder / "g.npy"] if command == "diff" else []
            for flag in ((), ("--json",)):
                done = run(command, url, *more, *flag)
                assert done.status == 0, done.err
                assert not any(word in done.out + done.err for word in ("s3cr3t", "me:pw"))
            done = run(command, shown, *more)
            assert done.status == 2
            assert f"http://{server.host}/g.npy" in done.out + done.err
            assert "access is denied (status 403)" in done.out + done.err


def test_a_cache_knows_an_object_whatever_its_signature(folder: Path, run: Run) -> None:
    with web(folder) as server:
        for number in range(2):
            server.asked.clear()
            url = f"http://{server.host}/g.npy?sig={number}s3cr3t"
            assert run("trend", url, "--cache", folder / "run.jsonl").status == 0
            sent = sum(1 for _, said in server.asked if said != "bytes=0-0")
            assert sent <= 2 - number
        assert "s3cr3t" not in (folder / "run.jsonl").read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing.npy", "no such file or folder"),
        ("empty.npy", "too short for an .npy file: 0 bytes"),
        ("sub/", "a folder of a web server cannot be listed"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    path: str, said: str, folder: Path, run: Run
) -> None:
    with web(folder) as server:
        done = run("inspect", f"http://{server.host}/{path}")
    assert done.status == 2
    assert said in one_error(done.err)


def test_a_secret_crosses_processes_and_is_no_part_of_the_text() -> None:
    url = named("https://me:pw@host/g.npy?sig=1")
    copy = pickle.loads(pickle.dumps(url))
    assert (copy, copy.whole) == ("https://host/g.npy", "https://me:pw@host/g.npy?sig=1")
    assert isinstance(copy, Url)
    assert "pw" not in repr(url)
