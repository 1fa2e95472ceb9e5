"""Results in a store: whole or not at all, never over another, and nothing left behind."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from tests.files.test_remote import HEAVY, MADE, values
from tests.running import Ended, Faulty, Run, one_error
from tests.stores import BUCKET, Asked, Store

pytestmark = pytest.mark.xdist_group("stores")

KEY = "out/clipped.npy"
URL = f"s3://{BUCKET}/{KEY}"
LIMIT = ("--clip-norm", "1")


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Give a file whose result takes two parts."""
    np.save(tmp_path / "g.npy", values(3 << 20))
    return tmp_path / "g.npy"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Give a file whose result is sent by one call."""
    np.save(tmp_path / "s.npy", values(100))
    return tmp_path / "s.npy"


def clipped(path: Path, to: str = "clipped.npy") -> bytes:
    """Give the bytes of a file's result."""
    out = path.parent / "here" / to
    out.parent.mkdir(exist_ok=True)
    gradclip_cli.apply(path, clip_norm=1.0, output=out, force=True)
    return out.read_bytes()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in ("npy", "shards") else HEAVY)
        for kind in MADE
        if kind != "dcp"
    ],
)
def test_a_result_is_the_same_as_in_a_file(kind: str, tmp_path: Path, store: Store) -> None:
    path = MADE[kind](tmp_path)
    here, there = tmp_path / "here", f"s3://{BUCKET}/there/"
    here.mkdir()
    url = store.put(f"in/{path.name}", path)
    report = gradclip_cli.apply(url, clip_norm=1.0, output=there)
    gradclip_cli.apply(path, clip_norm=1.0, output=here)
    files = sorted(one for one in here.rglob("*") if one.is_file())
    for file in files:
        key = f"there/{file.relative_to(here).as_posix()}"
        assert store.get(key) == file.read_bytes()
        assert f"s3://{BUCKET}/{key}" in (report.written.paths or () if report.written else ())
    assert len([key for key in store.held() if key.startswith("there/")]) == len(files)
    assert store.uploads() == []
    assert any("not one change" in note for note in report.notes) == (len(files) > 1)


def test_a_result_is_converted_by_its_name(tmp_path: Path, store: Store) -> None:
    path = MADE["packed npz"](tmp_path)
    url = f"s3://{BUCKET}/x.safetensors"
    gradclip_cli.apply(path, clip_norm=1.0, output=url)
    assert store.get("x.safetensors") == clipped(path, "x.safetensors")
    back = tmp_path / "back.npz"
    gradclip_cli.apply(url, clip_norm=0.5, output=back)
    assert gradclip_cli.inspect(back).global_norm == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("size", ["small", "dump"])
def test_nothing_is_replaced_without_force(
    size: str, store: Store, run: Run, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(size)
    store.put(KEY, b"other")
    dry = run("apply", path, *LIMIT, "-o", f"{URL}.other.npy", "--dry-run")
    assert (dry.status, store.held(), store.uploads()) == (0, [KEY], [])
    for more in ((), ("--dry-run",)):
        done = run("apply", path, *LIMIT, "-o", URL, *more)
        assert (done.status, store.get(KEY)) == (2, b"other")
        assert one_error(done.err) == f"gradclip: {URL}: already exists"
        assert "--force" in done.err
    assert run("apply", path, *LIMIT, "-o", URL, "--force").status == 0
    assert store.get(KEY) == clipped(path)


@pytest.mark.parametrize("size", ["small", "dump"])
def test_what_another_wrote_meanwhile_stays(
    size: str, store: Store, run: Run, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(size)

    def fault(_number: int, asked: Asked) -> str:
        is_last = asked.call in ("POST uploadId", "PUT") and asked.path.endswith(KEY)
        if is_last and not store.held():
            store.put(KEY, b"other")
        return ""

    store.proxy.fault = fault
    done = run("apply", path, *LIMIT, "-o", URL)
    assert (done.status, store.get(KEY)) == (2, b"other")
    assert one_error(done.err) == f"gradclip: {URL}: already exists"
    assert store.uploads() == []


@pytest.mark.parametrize("size", ["dump", pytest.param("small", marks=HEAVY)])
@pytest.mark.parametrize(
    "word", ["lost", *(pytest.param(one, marks=HEAVY) for one in ("InternalError", "drop"))]
)
def test_what_fails_for_a_moment_is_sent_again(
    word: str, size: str, store: Store, run: Run, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(size)
    seen: set[tuple[str, str]] = set()

    def fault(_number: int, asked: Asked) -> str:
        key = asked.call, asked.query
        if key in seen:
            return ""
        seen.add(key)
        return word

    store.proxy.fault = fault
    done = run("apply", path, *LIMIT, "-o", URL)
    assert (done.status, done.err) == (0, "")
    assert store.get(KEY) == clipped(path)
    store.proxy.forget()
    assert run("apply", path, *LIMIT, "-o", URL, "--force").status == 0
    assert store.uploads() == []


def calls_of(path: Path, store: Store, run: Run) -> int:
    """Give how many calls a run takes that goes well; nothing of it stays."""
    store.proxy.forget()
    assert run("apply", path, *LIMIT, "-o", URL).status == 0
    count = len(store.proxy.asked)
    store.empty()
    return count


@pytest.mark.heavy
def test_what_fails_for_good_at_any_call_leaves_nothing(
    dump: Path, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip_cli.files.stores.PAUSES", ())
    for number in range(1, calls_of(dump, store, run) + 1):
        store.proxy.forget()

        def fault(at: int, _asked: Asked, number: int = number) -> str:
            return "InternalError" if at == number else ""

        store.proxy.fault = fault
        done = run("apply", dump, *LIMIT, "-o", URL)
        if done.status:
            assert one_error(done.err).startswith(f"gradclip: s3://{BUCKET}")
            assert "the store has answered with status 500" in done.err
            assert store.held() == []
        store.proxy.forget()
        assert run("apply", dump, *LIMIT, "-o", URL, "--force").status == 0
        assert (store.uploads(), store.get(KEY)) == ([], clipped(dump))
        store.empty()


def stopped_at(
    number: int, signal_number: int, when: str, folder: Path, dump: Path, store: Store
) -> Ended:
    """Run with a signal that is sent when a call comes, or once it is answered."""
    known = threading.Event()
    pids: list[int] = []

    def send(at: int, _asked: Asked) -> str:
        if at == number:
            known.wait(10)
            os.kill(pids[0], signal_number)
        return ""

    store.proxy.forget()
    setattr(store.proxy, "fault" if when == "before" else "after", send)
    with Faulty(folder, ["apply", dump, *LIMIT, "-o", URL]) as run:
        pids.append(run._pid)
        known.set()
        return run.end()


@pytest.mark.parametrize("last", [4, pytest.param(99, marks=HEAVY)])
@pytest.mark.parametrize("when", ["after", pytest.param("before", marks=HEAVY)])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", pytest.param("SIGINT", marks=HEAVY)])
def test_what_is_stopped_at_any_call_leaves_nothing_or_all(
    name: str, when: str, last: int, dump: Path, store: Store, run: Run, tmp_path: Path
) -> None:
    whole = clipped(dump)
    number = getattr(signal, name)
    count = calls_of(dump, store, run)
    for call in range(max(count - last, 1), count + 1):
        done = stopped_at(call, number, when, tmp_path, dump, store)
        store.proxy.settle()
        assert store.held() in ([], [KEY]), call
        if store.held():  # it was stopped when the last call had been sent
            assert store.get(KEY) == whole
            assert any(one.call == "POST uploadId" for one in store.proxy.asked)
        if done.status and name != "SIGKILL":
            assert store.uploads() == [], call
        store.proxy.forget()
        assert run("apply", dump, *LIMIT, "-o", URL, "--force").status == 0
        assert (store.uploads(), store.get(KEY)) == ([], whole)
        store.empty()


def test_the_uploads_of_others_stay(dump: Path, store: Store, run: Run) -> None:
    mine = store.s3.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"]
    store.s3.upload_part(
        Bucket=BUCKET, Key=KEY, UploadId=mine, PartNumber=1, Body=b"not of gradclip"
    )
    store.s3.create_multipart_upload(Bucket=BUCKET, Key=f"{KEY}.other")
    assert run("apply", dump, *LIMIT, "-o", URL).status == 0
    assert sorted(store.uploads()) == [KEY, f"{KEY}.other"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "https://host/x.npy"), "https://host/x.npy: https:// is read, and not written"),
        (("-o", "hf://me/it/x.npy"), "hf://me/it/x.npy: hf:// is read, and not written"),
        (("-o", "x://me/it/x.npy"), "x://me/it/x.npy: x:// is not written"),
        (("-o", f"s3://{BUCKET}/x.txt"), f"s3://{BUCKET}/x.txt: "),
        (("-o", "x.npy", "--report", f"s3://{BUCKET}/r.json"), "a report cannot be at a URL"),
    ],
)
def test_what_cannot_be_written_is_refused(
    arguments: tuple[str, ...], said: str, small: Path, store: Store, run: Run, here: Path
) -> None:
    done = run("apply", small, *LIMIT, *arguments)
    assert done.status == 2
    assert said in one_error(done.err)
    assert store.held() == []


@pytest.mark.parametrize("more", [("--in-place",), ("--in-place", "--backup", ".orig")])
def test_nothing_is_replaced_in_place(
    more: tuple[str, ...], small: Path, store: Store, run: Run
) -> None:
    url = store.put("s.npy", small)
    done = run("apply", url, *LIMIT, *more)
    assert done.status == 2
    assert "what is replaced in place cannot be at a URL" in one_error(done.err)
    assert store.get("s.npy") == small.read_bytes()


def test_an_input_is_no_output(small: Path, store: Store, run: Run) -> None:
    url = store.put("s.npy", small)
    done = run("apply", url, *LIMIT, "-o", url, "--force")
    assert "the output is the input itself" in one_error(done.err)
    assert store.get("s.npy") == small.read_bytes()


def test_a_refusal_leaves_nothing(tmp_path: Path, store: Store) -> None:
    np.save(tmp_path / "bad.npy", np.array([1.0, np.nan], "<f4"))
    with pytest.raises(GradclipError):
        gradclip_cli.apply(tmp_path / "bad.npy", clip_norm=1.0, output=URL)
    assert (store.held(), store.uploads()) == ([], [])
