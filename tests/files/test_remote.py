"""What lies in a store is read as files are: the same results, each byte once, through faults."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.source import Source
from tests import dcps, pts
from tests.contracts.sources import DATA, SourceContract
from tests.running import Run, loaded_by, one_error, program
from tests.stores import BUCKET, Asked, Store, free_port

pytestmark = pytest.mark.xdist_group("stores")

FORMATS = Path(__file__).parents[1] / "formats"
SMALL = 1 << 16
HEAVY = [pytest.mark.heavy]


def values(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Give float32 that compress badly."""
    return np.random.default_rng(seed).standard_normal(count).astype("<f4")


def _npy(folder: Path) -> Path:
    path = folder / "g.npy"
    np.save(path, values(3 << 20))
    return path


def _safetensors(folder: Path) -> Path:
    path = folder / "g.safetensors"
    _write(path, {f"layer.{n}.w": values(50_000, n) for n in range(40)})
    return path


def _write(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, path)


def _shards(folder: Path) -> Path:
    path = folder / "sharded"
    path.mkdir()
    weights: dict[str, str] = {}
    for number in range(3):
        name = f"model-{number + 1:05}-of-00003.safetensors"
        some = {f"layer.{number}.{n}": values(100_000, 3 * number + n) for n in range(3)}
        _write(path / name, some)
        weights |= dict.fromkeys(some, name)
    index = {"metadata": {"total_size": 3_600_000}, "weight_map": weights}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def _npz(method: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        arrays = {f"a{number}": values(100_000 + number, number) for number in range(30)}
        path = folder / f"{method}.npz"
        getattr(np, method)(path, **arrays)
        return path

    return write


def _pt(folder: Path) -> Path:
    path = folder / "g.pt"
    stored, view = pts.tensor("0", values(2_000_000))
    more, other = pts.tensor("1", values(300_000, 1))
    path.write_bytes(pts.archive({"w": view, "b": other}, [stored, more]))
    return path


def _dcp(folder: Path) -> Path:
    path = folder / "step-1"
    halves = np.split(values(1_000_000), 2)
    chunks = [
        dcps.Chunk((0,), halves[0], "__0_0.distcp"),
        dcps.Chunk((500_000,), halves[1], "__1_0.distcp"),
    ]
    dcps.write(path, {"w": ((1_000_000,), chunks)})
    return path


MADE: dict[str, Callable[[Path], Path]] = {
    "npy": _npy,
    "safetensors": _safetensors,
    "shards": _shards,
    "npz": _npz("savez"),
    "packed npz": _npz("savez_compressed"),
    "pt": _pt,
    "dcp": _dcp,
}
MOSTLY = [  # and the others where there is time
    pytest.param(kind, marks=[] if kind in ("npy", "safetensors", "npz", "pt") else HEAVY)
    for kind in MADE
]
ARCHIVES = {"npz", "packed npz", "pt", "dcp"}


@pytest.mark.parametrize("kind", MOSTLY)
def test_each_byte_is_read_once_and_little_besides(kind: str, tmp_path: Path, store: Store) -> None:
    path = MADE[kind](tmp_path)
    url = store.put(path.name, path)
    assert gradclip_cli.inspect(url).global_norm == gradclip_cli.inspect(path).global_norm
    files = [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]
    for file in files:
        key = file.relative_to(tmp_path).as_posix()
        asked = store.proxy.read(key)
        assert asked, key
        assert all(one.span is not None for one in asked)
        size, sent = file.stat().st_size, sum(one.sent for one in asked)
        if file.suffix == ".json" or file.name == ".metadata":
            assert sent <= 2 * size
        elif kind in ARCHIVES:
            assert sent <= 1.01 * size
        else:
            assert sent <= size + 2 * SMALL
        assert sent >= 0.99 * size
        assert max(one.sent for one in asked) <= 8 << 20


SAMPLES = [
    *(FORMATS / "pt").glob("*.pt"),
    *(FORMATS / "dcp").glob("[ps]*[dn]"),
    *(FORMATS / "hdf5").glob("*.h5"),
    *(FORMATS / "flax").glob("*.msgpack"),
    *(FORMATS / "zarr" / name for name in ("orbax", "per_array", "v2", "v3", "zarr3")),
]
NEEDED = {"hdf5": "h5py", "flax": "msgpack", "zarr": "tensorstore"}
SMALL_FILES = [*SAMPLES, *(Path(__file__).parents[2] / "sample_grads").glob("*")]


PLAIN = {"archive.pt", "plain", "new.h5", "tree.msgpack", "v3", "step-20-npy"}


@pytest.mark.parametrize("command", ["inspect", pytest.param("check", marks=HEAVY)])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[] if path.name in PLAIN else HEAVY)
        for path in SMALL_FILES
    ],
)
def test_what_is_said_is_the_same_but_for_where(
    path: Path, command: str, store: Store, run: Run
) -> None:
    if path.parent.name in NEEDED:
        pytest.importorskip(NEEDED[path.parent.name])
    url = store.put(f"it/{path.name}", path)
    there, here = (run(command, one, "--json") for one in (url, path))
    said, wanted = there.out.replace(url, str(path)), here.out
    assert said == wanted or json.loads(said) == json.loads(wanted)
    assert there.err.replace(url, str(path)) == here.err
    assert there.status == here.status


class TestObjects(SourceContract):
    """An object of a store is a source as others are."""

    @pytest.fixture
    def source(self, store: Store) -> Source:
        return tree.source_of(store.put("data", DATA), "data")

    def test_another_object_is_noticed(self, source: Source, store: Store) -> None:
        store.put("data", DATA[::-1])
        with pytest.raises(GradclipError, match="changed while gradclip was reading it"):
            source.check()
        assert tree.source_of(source.path, "data").stamp != source.stamp

    def test_what_is_expected_is_got_at_once_and_not_again(
        self, source: Source, store: Store
    ) -> None:
        store.put("data", DATA * 20_000)
        source = tree.source_of(source.path, "data")
        store.proxy.forget()
        found = bytearray(len(DATA) * 20_000)
        with source.opened() as reader:
            reader.expect(10, 8_000_000)
            reader.expect(8_000_010, len(found) - 8_000_010)
            for begin in range(10, len(found), 999_999):
                reader.read_exactly(memoryview(found)[begin : begin + 999_999], begin)
        assert bytes(found[10:]) == (DATA * 20_000)[10:]
        asked = store.proxy.read("data")
        assert sum(one.sent for one in asked) == len(found) - 10
        assert len(asked) == -(-(len(found) - 10) // (8 << 20))


# What goes wrong


@pytest.fixture
def dump(tmp_path: Path, store: Store) -> str:
    """Give the URL of a file of twelve megabytes."""
    return store.put("g.npy", _npy(tmp_path))


def fails_first(word: str, times: int) -> Callable[[int, Asked], str]:
    """Let each range fail a few times before it is answered."""
    seen: dict[object, int] = {}

    def fault(_number: int, asked: Asked) -> str:
        key = asked.method, asked.path, asked.query, asked.span
        seen[key] = seen.get(key, 0) + 1
        return word if seen[key] <= times else ""

    return fault


@pytest.mark.parametrize(
    "word",
    [
        "InternalError",
        "cut",
        *(pytest.param(one, marks=HEAVY) for one in ("SlowDown", "drop", "slow")),
    ],
)
def test_what_fails_for_a_moment_is_asked_for_again(
    word: str, dump: str, store: Store, tmp_path: Path
) -> None:
    store.proxy.fault = fails_first(word, 2)
    assert (
        gradclip_cli.inspect(dump).global_norm
        == gradclip_cli.inspect(tmp_path / "g.npy").global_norm
    )


@pytest.mark.parametrize("word", ["stall", "halt"])
def test_a_store_that_is_silent_is_asked_again(
    word: str, dump: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip_cli.files.stores.SILENCE", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", word)  # so that other connections are made
    store.proxy.fault = fails_first(word, 1)
    assert (
        gradclip_cli.inspect(dump).global_norm
        == gradclip_cli.inspect(tmp_path / "g.npy").global_norm
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("InternalError", "the store has answered with status 500"),
        ("cut", "the store ends its answers too early"),
        ("InvalidAccessKeyId", "access is denied"),
        ("SignatureDoesNotMatch", "access is denied"),
        ("ExpiredToken", "access is denied"),
    ],
)
def test_what_goes_on_failing_is_said_in_a_line(
    word: str, said: str, dump: str, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip_cli.files.stores.PAUSES", (0.01, 0.01))
    store.proxy.fault = lambda _number, _asked: word
    done = run("inspect", dump)
    assert (done.status, done.out) == (2, "")
    assert one_error(done.err).startswith(f"gradclip: {dump}: {said}")


@pytest.mark.parametrize("key", ["missing.npy", "missing/", "missing"])
def test_what_is_not_there_is_said_in_a_line(key: str, store: Store, run: Run) -> None:
    done = run("inspect", f"s3://{BUCKET}/{key}")
    assert done.status == 2
    assert f"s3://{BUCKET}/{key.rstrip('/')}: no such file or folder" in one_error(done.err)
    done = run("inspect", "s3://no-such-bucket/x.npy")
    assert done.status == 2
    assert "s3://no-such-bucket/x.npy: no such" in one_error(done.err)


def test_no_credentials_are_said_in_a_line(
    dump: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    done = run("inspect", dump)
    assert done.status == 2
    assert one_error(done.err).startswith(f"gradclip: {dump}: no credentials are found")
    assert "AWS_PROFILE" in done.err


def test_no_network_is_said_in_a_line(dump: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradclip_cli.files.stores.PAUSES", (0.01, 0.01))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    done = run("inspect", dump)
    assert done.status == 2
    assert one_error(done.err).startswith(f"gradclip: {dump}: the store cannot be reached")


def test_an_object_that_changes_meanwhile_is_an_error(
    dump: str, store: Store, tmp_path: Path, run: Run
) -> None:
    other = (tmp_path / "g.npy").read_bytes()[:-4] + b"abcd"
    edges = ((0, SMALL), (1, len(other)))
    for when in ("first", "last", "behind"):
        store.put("g.npy", tmp_path / "g.npy")
        store.proxy.forget()

        def fault(_number: int, asked: Asked, when: str = when) -> str:
            spans = [one.span for one in store.proxy.read("g.npy") if one.span]
            begun, ended = (any(span[at] == edge for span in spans) for at, edge in edges)
            is_due = {
                "first": asked.method == "GET" and begun,
                "last": asked.method == "GET" and ended,
                "behind": asked.method == "HEAD" and ended,
            }
            if is_due[when]:
                store.put("g.npy", other)
            return ""

        store.proxy.fault = fault
        done = run("inspect", dump, "--workers", "1")
        assert done.status == 2
        assert "changed while gradclip was reading it" in one_error(done.err)


def test_no_secret_is_told(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradclip_cli.files.stores.PAUSES", ())
    port = free_port()
    for word in ("inspect", "explain --logged 1", "apply --clip-norm 1 -o x.npy"):
        command, *more = word.split()
        done = run(command, f"http://me:hunter2@127.0.0.1:{port}/g.npy?sig=s3cret", *more)
        assert done.status == 2
        assert "hunter2" not in done.err + done.out
        assert "s3cret" not in done.err + done.out
        assert f"http://127.0.0.1:{port}/g.npy" in one_error(done.err)
    done = run("inspect", f"s3://AKID:hunter2@{BUCKET}/g.npy")
    assert "hunter2" not in one_error(done.err)


def test_an_unknown_scheme_is_named_with_those_that_are_read(run: Run) -> None:
    done = run("inspect", "ftp://host/g.npy")
    assert one_error(done.err).startswith("gradclip: ftp://host/g.npy: ftp:// is not read")
    assert "s3://, gs://, hf://, https:// and http://" in done.err


# Runs and comparisons


@pytest.fixture
def run_of_steps(tmp_path: Path, store: Store) -> tuple[Path, str]:
    """Give a run of six steps in a folder, and its URL."""
    folder = tmp_path / "run"
    folder.mkdir()
    for number in range(1, 7):
        np.save(folder / f"step-{number}.npy", values(5000, number) * number)
    return folder, store.put("run", folder)


def test_a_run_is_followed_and_kept_by_what_the_store_says(
    run_of_steps: tuple[Path, str], store: Store, run: Run, tmp_path: Path
) -> None:
    folder, url = run_of_steps
    told, wanted = (run("trend", one, "--json") for one in (url, folder))
    assert json.loads(told.out.replace(url, str(folder))) == json.loads(wanted.out)
    cache = tmp_path / "run.jsonl"
    first = run("trend", url, "--cache", cache)
    store.proxy.forget()
    assert run("trend", url, "--cache", cache).out == first.out
    assert sum(one.sent for one in store.proxy.asked if one.reads) <= 6 * SMALL
    np.save(folder / "step-3.npy", values(5000, 3) * 100)
    store.put("run/step-3.npy", folder / "step-3.npy")
    again = gradclip_cli.trend(url, cache=cache)
    assert "1 step measured anew: their files have changed" in again.notes
    here = gradclip_cli.trend(folder)
    assert [one.global_norm for one in again.steps] == [one.global_norm for one in here.steps]
    refused = run("trend", url, "--cache", f"s3://{BUCKET}/run.jsonl")
    assert "a cache cannot be at a URL" in one_error(refused.err)
    refused = run("trend", url, "--plot", f"s3://{BUCKET}/run.png")
    assert refused.status == 2
    one_error(refused.err)


def test_a_recorded_step_is_read(run_of_steps: tuple[Path, str], store: Store, run: Run) -> None:
    folder, _ = run_of_steps
    text = run("inspect", folder / "step-1.npy", "--format", "jsonl").out
    url = store.put("step-1.jsonl", text.encode())
    assert gradclip_cli.trend(url).steps[0].global_norm == pytest.approx(
        gradclip_cli.inspect(folder / "step-1.npy").global_norm
    )


def test_two_dumps_are_compared_wherever_they_lie(
    run_of_steps: tuple[Path, str], store: Store, run: Run
) -> None:
    folder, url = run_of_steps
    a, b = "step-1.npy", "step-2.npy"
    here = run("diff", folder / a, folder / b, "--json")
    for one, other in ((f"{url}/{a}", f"{url}/{b}"), (str(folder / a), f"{url}/{b}")):
        there = run("diff", one, other, "--json")
        assert json.loads(there.out.replace(url, str(folder))) == json.loads(here.out)
        assert there.status == here.status == 1
    assert run("diff", f"{url}/{a}", f"{url}/{a}").status == 0


def test_a_file_twice_is_noticed(dump: str, run: Run) -> None:
    done = run("inspect", dump, dump)
    assert f"{dump}: is the same file as {dump}" in one_error(done.err)


def test_a_folder_is_one_gradient_and_steps_are_none(
    run_of_steps: tuple[Path, str], store: Store, run: Run
) -> None:
    folder, url = run_of_steps
    here, there = (run("inspect", one) for one in (folder, url))
    assert there.err.replace(url, str(folder)) == here.err
    assert there.status == 2
    here, there = (run("inspect", one, "--one-gradient", "--json") for one in (folder, url))
    assert json.loads(there.out.replace(url, str(folder))) == json.loads(here.out)


def test_parameters_and_what_was_logged_are_read(store: Store, run: Run) -> None:
    folder = Path(__file__).parents[2] / "sample_grads"
    url = store.put("samples", folder)
    one, other = "{}/step-10.safetensors", "{}/step-11.safetensors"
    for command in (
        ("explain", one, "--logged", "0.2423"),
        ("apply", one, "--agc", "0.1", "--params", other, "--dry-run"),
    ):
        here, there = (
            run(*(word.format(place) for word in command), "--json") for place in (folder, url)
        )
        assert json.loads(there.out.replace(url, str(folder))) == json.loads(here.out)
        assert (there.status, there.err) == (here.status, here.err)


def test_many_files_are_looked_at_some_at_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        np.save(folder / f"layer{number}.npy", values(100, number))
    url = store.put("many", folder)
    waiting: list[int] = []

    def fault(_number: int, asked: Asked) -> str:
        if asked.reads:
            waiting.append(sum(1 for one in store.proxy.asked if one.reads and not one.sent))
            time.sleep(0.02)
        return ""

    store.proxy.fault = fault
    report = gradclip_cli.inspect(url, one_gradient=True)
    assert report.global_norm == gradclip_cli.inspect(folder, one_gradient=True).global_norm
    assert len([one for one in store.proxy.asked if one.reads and "layer" in one.path]) == 40
    assert max(waiting) > 4


@pytest.mark.parametrize("name", ["fsspec", "s3fs"])
def test_a_missing_library_names_the_extra(name: str, store: Store) -> None:
    text = (
        f"import sys; sys.modules[{name!r}] = None; import gradclip_cli.__main__ as it; it.main()"
    )
    done = program(text, "inspect", f"s3://{BUCKET}/g.npy")
    assert done.status == 2
    assert one_error(done.err).startswith(f"gradclip: s3://{BUCKET}/g.npy: s3:// needs libraries")
    assert "pip install 'gradclip-cli[remote]'" in done.err


def test_no_path_waits_for_what_only_urls_need(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2))
    loaded = loaded_by("inspect", str(tmp_path / "x.npy"))
    own = {"stores", "objects", "looking", "services", "outages", "uploads"}
    assert not loaded & {"fsspec", "aiohttp", "s3fs", "asyncio"}
    assert not loaded & {f"gradclip_cli.files.{one}" for one in own}
