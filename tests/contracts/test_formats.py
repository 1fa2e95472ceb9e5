"""Every registered format keeps the contract; what the registry finds, and when it looks."""

import dataclasses
import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource
from gradclip_cli.formats import registry
from gradclip_cli.formats.folders import find
from gradclip_cli.tensors.dtypes import FLOAT64, numeric
from gradclip_cli.tensors.dump import DumpFile, Tensor
from tests import dcps, pts
from tests.contracts.formats import FormatContract
from tests.dumps import floats, npy_bytes, npz_bytes, safetensors_bytes
from tests.folders import untouched
from tests.running import gradclip

Sample = Callable[[list[float]], bytes]

SAMPLES: dict[str, Sample] = {
    "npy": lambda values: npy_bytes(floats("<f4", (len(values),), values)),
    "npz": lambda values: npz_bytes({"sample": floats("<f4", (len(values),), values)}),
    "pt": lambda values: pt_archive(values),
    "hdf5": lambda values: hdf5(values),
    "flax": lambda values: flax(values),
    "safetensors": lambda values: safetensors_bytes(
        {"sample": floats("F32", (len(values),), values)}
    ),
}


def pt_archive(values: list[float]) -> bytes:
    """Give a file of torch.save with one tensor."""
    stored, whole = pts.tensor("0", np.array(values, "<f4"))
    return pts.archive({"sample": whole}, [stored])


def hdf5(values: list[float]) -> bytes:
    """Give an HDF5 file with one dataset."""
    whole = io.BytesIO()
    with pytest.importorskip("h5py").File(whole, "w") as file:
        file["sample"] = np.array(values, "<f4")
    return whole.getvalue()


def flax(values: list[float]) -> bytes:
    """Give a file of Flax with one array."""
    msgpack = pytest.importorskip("msgpack")
    array = msgpack.packb(([len(values)], "float32", floats("<f4", (len(values),), values)[2]))
    return bytes(msgpack.packb({"sample": msgpack.ExtType(1, array)}))


READ_ALONE = {"hdf5", "flax"}


def of_archive(raw: bytes, member: bytes) -> list[int]:
    """Give where an archive has the checksum of a member."""
    before = raw.index(b"PK\x03\x04", raw.index(member) - 30) if member else 0
    return [before + 14, raw.rindex(b"PK\x01\x02", 0, raw.rindex(member)) + 16]


CHECKSUMS: dict[str, Callable[[bytes], list[int]]] = {
    "npz": lambda raw: of_archive(raw, b"sample.npy"),
    "pt": lambda raw: of_archive(raw, b"archive/data/0"),
}


def dcp_folder(folder: Path, values: list[float]) -> None:
    """Write a checkpoint with one tensor in two chunks."""
    whole = np.array(values, "<f4")
    dcps.write(folder, {"sample": (whole.shape, dcps.split(whole, [[1]]))})


def zarr_folder(folder: Path, values: list[float]) -> None:
    """Write a group with one array in two chunks."""
    pytest.importorskip("tensorstore")
    (folder / "sample").mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    how = {"order": "C", "fill_value": 0, "filters": None, "compressor": None, "zarr_format": 2}
    said = {"shape": [len(values)], "chunks": [2], "dtype": "<f4", **how}
    (folder / "sample" / ".zarray").write_text(json.dumps(said))
    padded = np.array([*values, *[0.0] * (len(values) % 2)], "<f4").reshape(-1, 2)
    for number, chunk in enumerate(padded):
        (folder / "sample" / f"{number}").write_bytes(chunk.tobytes())


FOLDERS: dict[str, Callable[[Path, list[float]], None]] = {"dcp": dcp_folder, "zarr": zarr_folder}
OF_FILES = [form for form in registry.formats() if not form.marks]


def test_every_format_has_a_sample_to_be_tried_on() -> None:
    assert {form.name for form in OF_FILES} == SAMPLES.keys()
    assert {form.name for form in registry.formats() if form.marks} == FOLDERS.keys()


@pytest.mark.parametrize("name", FOLDERS)
class TestEachFormatOfFolders:
    """What a dump that is a folder does in every command."""

    @pytest.fixture
    def folder(self, name: str, tmp_path: Path) -> Path:
        """Write a dump of norm 13."""
        FOLDERS[name](tmp_path / "a", [3.0, 4.0, 12.0])
        return tmp_path / "a"

    def test_it_is_one_dump(self, folder: Path) -> None:
        dump = find([str(folder)]).open()
        assert pickle.loads(pickle.dumps(dump)).tensors[0].shape == (3,)
        (file,) = dump.files
        assert file.source.label == str(folder)
        report = gradclip_cli.inspect(folder)
        assert {row.name: row.norm for row in report.tensors} == {"sample": 13.0}
        assert gradclip_cli.inspect(folder.parent).global_norm == 13.0

    def test_it_is_checked_compared_and_followed(self, folder: Path, name: str) -> None:
        other = folder.parent / "b"
        FOLDERS[name](other, [3.0, 4.0, 0.0])
        assert gradclip_cli.check(folder, other).sound
        assert gradclip_cli.diff(folder, folder).same
        assert not gradclip_cli.diff(folder, other).same
        assert [step.global_norm for step in gradclip_cli.trend(folder, other).steps] == [13, 5]

    def test_it_is_clipped_into_another_format(self, folder: Path, tmp_path: Path) -> None:
        refused = "no ranges of its bytes|are read, and not written"
        with untouched(tmp_path), pytest.raises(GradclipError, match=refused):
            gradclip_cli.apply(folder, clip_norm=6.5, in_place=True)
        gradclip_cli.apply(folder, clip_norm=6.5, output=tmp_path / "c.npy")
        assert np.load(tmp_path / "c.npy").tolist() == [1.5, 2.0, 6.0]

    def test_what_is_lost_of_it_is_refused_in_words(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                raw = path.read_bytes()
                path.write_bytes(raw[: len(raw) // 2])
                with pytest.raises(GradclipError):
                    gradclip_cli.inspect(folder)
                path.write_bytes(raw)


@pytest.mark.parametrize("form", OF_FILES, ids=lambda form: form.name, scope="class")
class TestEachFormat(FormatContract):
    """The contract, for each format of the registry."""

    @pytest.fixture(autouse=True)
    def _of_the_registry(self, form: registry.Format) -> None:
        self.form = form
        self.sample = SAMPLES[form.name]  # type: ignore[assignment, method-assign]
        self.is_read_alone = form.name in READ_ALONE
        if form.name in CHECKSUMS:
            self.checksums = CHECKSUMS[form.name]  # type: ignore[assignment, method-assign]

    def test_it_comes_from_a_pipe(self, path: Path) -> None:
        halves = gradclip("apply", "--clip-norm", "6.5", stdin=path.read_bytes()).stdout
        said = gradclip("inspect", "--json", stdin=halves).stdout
        assert json.loads(said)["global_norm"] == 6.5


def test_no_suffix_belongs_to_two_formats() -> None:
    found = registry.suffixes()
    assert len(set(found)) == len(found)


# Formats of other packages

PLUGIN = """
from gradclip_cli.formats.registry import Format
from gradclip_cli.tensors.dtypes import FLOAT64, numeric
from gradclip_cli.tensors.dump import DumpFile, Tensor

def read(front, source, name):
    count = int.from_bytes(front.read(8)[4:], "little")
    return (Tensor(name, numeric("f", 32), (count,), source, 8, count * 4),)

RAW = Format("raw", (".raw",), lambda head: head.startswith(b"RAW!"), read, is_named_by_file=True)
BROKEN = 7
"""
RAW = b"RAW!" + (2).to_bytes(4, "little") + bytes.fromhex("0000404000008040000"[:16])


def installed(folder: Path, points: str, program: str = PLUGIN) -> Path:
    """Install a package with entry points into a folder, as pip would."""
    (folder / "raw_reader.py").write_text(f"print('loaded')\n{program}")
    about = folder / "raw_reader-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: raw-reader\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text(f"[gradclip.formats]\n{points}\n")
    return folder


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Give a folder in which a package for .raw files is installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    return installed(folder, "raw = raw_reader:RAW")


@pytest.fixture
def run(plugin: Path) -> Callable[..., tuple[int, str, str]]:
    """Give a way to run the command with the package installed."""
    from tests.running import program

    start = f"import sys; sys.path.insert(0, {str(plugin)!r}); sys.argv[0] = 'gradclip'; "

    def run(*arguments: str | Path, before: str = "") -> tuple[int, str, str]:
        said = program(f"{start}{before}from gradclip_cli.cli.app import main; main()", *arguments)
        return said.status, said.out, said.err

    return run


WATCHED = (
    "import importlib.metadata as m; real = m.entry_points; "
    "m.entry_points = lambda **given: (print('looked'), real(**given))[1]; "
)


def test_an_installed_package_brings_a_format_and_the_report_names_it(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "grads.raw"
    path.write_bytes(RAW)
    status, out, err = run("inspect", path, "--format", "table")
    assert (status, err) == (0, "")
    assert "global norm  5.0" in out
    assert "raw read by raw-reader 1.5" in out
    assert out.count("loaded") == 1


def test_a_folder_with_files_of_a_package_is_a_dump(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "grads"
    folder.mkdir()
    (folder / "a.raw").write_bytes(RAW)
    (folder / "b.npy").write_bytes(SAMPLES["npy"]([12.0]))
    status, out, _ = run("inspect", folder, "--json")
    assert status == 0
    assert '"global_norm": 13.0' in out


def test_a_clipped_copy_of_a_packages_format_is_the_same_but_for_its_values(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path, out = tmp_path / "grads.raw", tmp_path / "out.raw"
    path.write_bytes(RAW)
    assert run("apply", path, "--clip-norm", "2.5", "-o", out, "-q")[0] == 0
    assert out.read_bytes()[:8] == RAW[:8]
    assert run("diff", path, out, "--json")[1].count('"factor": 0.5') == 1


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ("raw = raw_reader:MISSING", "has no attribute 'MISSING'"),
        ("raw = raw_reader:BROKEN", "is no gradclip_cli.formats.registry.Format"),
        ("raw = no_such_module:RAW", "No module named 'no_such_module'"),
    ],
)
def test_a_broken_package_is_one_line(points: str, problem: str, tmp_path: Path) -> None:
    from tests.running import program

    folder, path = tmp_path / "site", tmp_path / "grads.raw"
    folder.mkdir()
    installed(folder, points)
    path.write_bytes(RAW)
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = 'gradclip'; "
    said = program(f"{start}from gradclip_cli.cli.app import main; main()", "inspect", path)
    first, hint = said.err.splitlines()
    assert said.status == 2
    assert first.startswith(f"gradclip: {path}: raw-reader 1.5 is installed to read raw files")
    assert problem in first
    assert hint.startswith("hint: ")


def test_a_package_never_replaces_a_format_of_gradclips_own(tmp_path: Path) -> None:
    from tests.running import program

    folder, path = tmp_path / "site", tmp_path / "grads.npy"
    folder.mkdir()
    installed(folder, "npy = raw_reader:RAW")
    path.write_bytes(SAMPLES["npy"]([3.0, 4.0]))
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = 'gradclip'; "
    said = program(f"{start}from gradclip_cli.cli.app import main; main()", "inspect", path)
    assert (said.status, said.err) == (0, "")
    assert "loaded" not in said.out


@pytest.mark.parametrize(
    ("arguments", "looks"),
    [
        (["--help"], False),
        (["inspect", "--help"], False),
        (["inspect", "{known}"], False),
        (["inspect", "{folder}"], False),
        (["inspect", "{raw}"], True),
    ],
    ids=["help", "help of a command", "a known file", "a folder of known files", "a foreign file"],
)
def test_packages_are_looked_up_only_where_no_format_fits(
    arguments: list[str],
    looks: bool,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "known"
    folder.mkdir()
    known, raw = folder / "a.npy", tmp_path / "a.raw"
    known.write_bytes(SAMPLES["npy"]([3.0]))
    raw.write_bytes(RAW)
    places = {"known": known, "folder": folder, "raw": raw}
    given = [argument.format(**places) for argument in arguments]
    assert ("looked" in run(*given, before=WATCHED)[1]) == looks


def test_a_pipe_never_looks(plugin: Path, tmp_path: Path) -> None:
    import subprocess

    start = f"import sys; sys.path.insert(0, {str(plugin)!r}); sys.argv[0] = 'gradclip'; {WATCHED}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{start}from gradclip_cli.cli.app import main; main()",
            *("inspect", "-"),
        ],
        input=RAW,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 2
    assert b"looked" not in done.stdout


def test_a_dump_of_integers_in_a_format_that_cannot_grow_says_so() -> None:
    source = FileSource("x", "x", 0, 0, 0, 0, 0)
    tensor = Tensor("x", numeric("i", 32), (1,), source, 0, 4)
    file = DumpFile(source, "x", "x", (tensor,))
    with pytest.raises(GradclipError, match="cannot be laid out anew"):
        registry.Format("x", (".x",), bool, lambda *_: ()).copied(
            file, [dataclasses.replace(tensor, dtype=FLOAT64)]
        )
