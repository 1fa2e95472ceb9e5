"""Where tensors lie: what a writer wrote is found to the byte, what a reader refuses is refused.

The oracles are NumPy's own reader and the safetensors library. Where gradclip is stricter than
they are, the reason stands in a table of `tests.fuzz`.
"""

import base64
import io
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.formats.folders import find
from gradclip_cli.formats.pieces import SHARDING
from tests.dumps import Stored, npy_bytes, safetensors_bytes
from tests.findings import REFUSED, TAKEN, Finding, fresh
from tests.fuzz import (
    STRICTER,
    STRICTER_THAN_NUMPY,
    STRICTER_THAN_SAFETENSORS,
    TAKES_NEGATIVE,
    Seen,
    by_numpy,
    by_safetensors,
    bytes_of,
    compare,
    fuzz,
    located,
    same_norm,
    tensors,
)
from tests.mutants import ENTRY, HUGE, mutant, npy_with, safetensors_with
from tests.running import Said, gradclip, program

# What writers write

NUMBERS = [
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16", "|b1"),
    *("|i1", "<i2", ">i4", "<i8", "|u1", ">u2", "<u4", ">u8"),
]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def arrays_of(dtypes: Sequence[Any]) -> st.SearchStrategy[NDArray[Any]]:
    """Give arrays of any of the dtypes, small, empty and 0-d ones among them."""

    def filled(dtype: Any, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        data = random.Random(seed).randbytes(size)
        if kind.kind == "b":
            data = bytes(byte & 1 for byte in data)
        return np.frombuffer(data, kind).reshape(shape)

    return st.builds(filled, st.sampled_from(dtypes), SHAPES, st.integers(0, 1 << 32))


@settings(max_examples=300)
@given(
    array=arrays_of(NUMBERS),
    fortran=st.booleans(),
    version=st.sampled_from([None, (1, 0), (2, 0), (3, 0)]),
)
def test_whatever_numpy_saves_is_found_to_the_byte(
    array: NDArray[Any],
    fortran: bool,
    version: tuple[int, int] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if fortran:
        array = np.asfortranarray(array)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    raw = stream.getvalue()
    path = fresh(tmp_path_factory.getbasetemp() / "saved.npy", raw)
    (tensor,) = tensors(path)
    assert tensor.name == "saved"
    assert tensor.shape == array.shape
    assert tensor.dtype.name == array.dtype.name
    if array.dtype.kind in "fc" and array.dtype.itemsize > 1:
        assert (tensor.dtype.words[0] == ">") == (array.dtype.byteorder == ">")
    assert tensor.size == array.nbytes
    assert tensor.offset + tensor.size == len(raw)
    assert bytes_of(tensor, raw) == array.tobytes("F" if tensor.fortran else "C")


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("fortran", [False, True], ids=["C", "Fortran"])
@pytest.mark.parametrize("descr", ["<f4", ">f4", "=f8", "f8", "|i1", ">c16"])
def test_an_npy_file_of_any_version_and_order_is_read_as_numpy_reads_it(
    version: int, fortran: bool, descr: str, tmp_path: Path
) -> None:
    data = bytes(range(1, 6 * np.dtype(descr).itemsize + 1))
    raw = npy_bytes((descr, (2, 3), data), fortran, version)
    (tensor,) = tensors(fresh(tmp_path / "x.npy", raw))
    array = np.load(tmp_path / "x.npy")
    assert (tensor.shape, tensor.dtype.name) == (array.shape, array.dtype.name)
    assert tensor.fortran == fortran
    assert bytes_of(tensor, raw) == data


WRITTEN_BY_OTHERS = {
    "python 2 wrote long integers": "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }",
    "python 2 wrote zero as a long": "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 0L)}",
    "other order of keys": "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}",
    "no trailing comma": "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
    "double quotes": '{"descr": "<f4", "fortran_order": False, "shape": (2,)}',
    "unicode literals": "{u'descr': u'<f4', u'fortran_order': False, u'shape': (2,)}",
    "line ends within": "{'descr': '<f4',\n 'fortran_order': False,\n 'shape': (2,)}",
    "64 dimensions": f"{{'descr': '<f4', 'fortran_order': False, 'shape': (2, {'1, ' * 63})}}",
    "no shape at all": "{'descr': '<f8', 'fortran_order': False, 'shape': ()}",
}


@pytest.mark.parametrize("end", ["\n", " " * 70 + "\n", ""], ids=["newline", "padded", "bare"])
@pytest.mark.parametrize("text", WRITTEN_BY_OTHERS.values(), ids=WRITTEN_BY_OTHERS.keys())
def test_an_npy_header_as_other_writers_write_it_is_read_as_numpy_reads_it(
    text: str, end: str, tmp_path: Path
) -> None:
    data = b"" if "0L" in text else b"\x00\x00\x40\x40\x00\x00\x80\x40"
    raw = npy_with(text + end, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that Python 2 wrote it
        array = np.load(fresh(tmp_path / "x.npy", raw))
    (tensor,) = tensors(tmp_path / "x.npy")
    assert (tensor.shape, tensor.dtype.name) == (array.shape, array.dtype.name)
    assert bytes_of(tensor, raw) == array.tobytes() == data


KNOWN_TO_SAFETENSORS = [
    *(np.float64, np.float32, np.float16, np.complex64, ml_dtypes.bfloat16),
    *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8, np.bool_),
]
TENSOR_NAMES = st.text().filter(lambda name: name != "__metadata__")


@settings(max_examples=200)
@given(
    arrays=st.dictionaries(TENSOR_NAMES, arrays_of(KNOWN_TO_SAFETENSORS), max_size=6),
    # safetensors 0.8 writes a file that it cannot read where the metadata is an empty map.
    # What is said of shards has to be true.
    metadata=st.none()
    | st.dictionaries(
        st.text().filter(lambda key: key != SHARDING), st.text(), min_size=1, max_size=3
    ),
)
def test_whatever_safetensors_saves_is_found_to_the_byte(
    arrays: dict[str, NDArray[Any]],
    metadata: dict[str, str] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.safetensors"
    path.unlink(missing_ok=True)
    safetensors.numpy.save_file(arrays, path, metadata)
    raw = path.read_bytes()
    found = tensors(path)
    assert {tensor.name for tensor in found} == arrays.keys()
    assert len(found) == len(arrays)
    for tensor in found:
        array = arrays[tensor.name or ""]
        assert tensor.shape == array.shape
        assert tensor.dtype.name == array.dtype.name
        assert bytes_of(tensor, raw) == array.tobytes()


def test_all_of_many_tensors_are_found(tmp_path: Path) -> None:
    arrays = {f"layer.{index}": np.full(index % 7, index, "f4") for index in range(5_000)}
    path = tmp_path / "many.safetensors"
    safetensors.numpy.save_file(arrays, path)
    raw = path.read_bytes()
    found = {tensor.name: bytes_of(tensor, raw) for tensor in tensors(path)}
    assert found == {name: array.tobytes() for name, array in arrays.items()}


FLOATING = ["<f2", ">f4", "<f4", ">f8", "<f8", "<c8"]
FOLDERS = st.sampled_from(["", "sub/", "sub/layer.2/", "sub/layer.10/"])
FILE_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=9)


def decided(arrays: list[NDArray[Any]]) -> bool:
    """Say whether files tell what arrays of one name are: copies, or one with pieces of nothing."""
    if len(arrays) == 1:
        return True
    first = arrays[0]
    if any((one.dtype, one.ndim) != (first.dtype, first.ndim) for one in arrays):
        return False
    if sum(one.size > 0 for one in arrays) <= 1:
        return True
    raw = {(one.shape, one.tobytes()) for one in arrays}
    values = {
        first.tobytes()[at : at + first.itemsize] for at in range(0, first.nbytes, first.itemsize)
    }
    return len(raw) == 1 and len(values) > 1


@settings(max_examples=150)
@given(
    arrays=st.dictionaries(
        st.tuples(FOLDERS, FILE_NAMES).map("".join), arrays_of(FLOATING), max_size=4
    ),
    shards=st.lists(
        st.dictionaries(TENSOR_NAMES, arrays_of(KNOWN_TO_SAFETENSORS[:3]), max_size=3), max_size=3
    ),
)
def test_any_number_of_files_in_a_folder_are_one_gradient(
    arrays: dict[str, NDArray[Any]],
    shards: list[dict[str, NDArray[Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    assume(arrays or shards)
    faces = [{name: (a.shape, a.tobytes()) for name, a in shard.items()} for shard in shards]
    # Whole files that are copies have a test of their own.
    assume(all(len(face) < 2 or faces.count(face) == 1 for face in faces))
    assume(faces.count({}) < 2)  # they read as steps, being alike
    seen: list[Seen | None] = []
    for stem, array in arrays.items():
        path = folder / f"{stem}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
        seen.append(by_numpy(path))
    for number, shard in enumerate(shards):
        path = folder / f"{number}.safetensors"
        safetensors.numpy.save_file(shard, path)
        seen.append(by_safetensors(path))
    names: list[str | None] = [stem.replace("/", ".") or None for stem in arrays]
    names += itertools.chain.from_iterable(shards)
    held = [*arrays.values(), *(array for shard in shards for array in shard.values())]
    if len(set(names)) < len(names):
        if all(
            decided([a for n, a in zip(names, held, strict=True) if n == name]) for name in names
        ):
            find([str(folder)]).open()
            return
        with pytest.raises(GradclipError, match="also stands in"):
            find([str(folder)]).open()
        return
    found = {
        tensor.name: (tensor.shape, bytes_of(tensor, Path(tensor.source.path).read_bytes()))
        for tensor in find([str(folder)]).open().tensors
    }
    assert found == {
        name: (array.shape, array.tobytes()) for name, array in zip(names, held, strict=True)
    }
    gradient = [value for one in seen if one is not None for value in one.gradient]
    assert same_norm(gradclip_cli.inspect(folder).global_norm, gradient)


EVERY_DTYPE: dict[str, Stored] = {
    **{code: (code, (3,), b"123") for code in ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2")},
    **{code: (code, (1, 3), b"abc") for code in ("F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")},
    **{code: (code, (2,), b"1234") for code in ("U16", "I16", "F16", "BF16")},
    **{code: (code, (), b"4321") for code in ("U32", "I32", "F32")},
    **{code: (code, (1,), b"12345678") for code in ("U64", "I64", "F64", "C64")},
    "F4": ("F4", (4,), b"zz"),
    "F6_E2M3": ("F6_E2M3", (4,), b"yyy"),
    "F6_E3M2": ("F6_E3M2", (8, 0), b""),
    "empty": ("F32", (0,), b""),
}


def test_every_dtype_of_the_format_is_found_in_any_order_of_the_values(tmp_path: Path) -> None:
    for lie in (list(EVERY_DTYPE), sorted(EVERY_DTYPE), sorted(EVERY_DTYPE, reverse=True)):
        raw = safetensors_bytes(EVERY_DTYPE, {"format": "pt"}, lie)
        found = tensors(fresh(tmp_path / "x.safetensors", raw))
        assert [tensor.name for tensor in found] == list(EVERY_DTYPE), "the header's order"
        seen = by_safetensors(tmp_path / "x.safetensors")
        assert seen is not None
        assert located(tmp_path / "x.safetensors", raw) == seen.tensors
        for tensor in found:
            assert bytes_of(tensor, raw) == EVERY_DTYPE[tensor.name or ""][2]


@pytest.mark.parametrize("missing", range(1, 25))
def test_of_a_truncated_file_the_first_tensor_to_be_cut_is_named(
    missing: int, tmp_path: Path
) -> None:
    stored = {name: ("U8", (8,), name.encode() * 8) for name in "abc"}
    raw = safetensors_bytes(stored, lie=["c", "a", "b"])
    path = fresh(tmp_path / "x.safetensors", raw[:-missing])
    first = "bac"[(missing - 1) // 8]
    said = f"truncated: {missing} of {len(raw)} bytes are missing; .* to be cut is '{first}'"
    with pytest.raises(GradclipError, match=said):
        tensors(path)


# What kind of file it is, and what a folder holds

SAFETENSORS = safetensors_bytes({"a": ("F32", (2,), np.array([3, 4], "<f4").tobytes())})
NPY = npy_bytes(("<f4", (2,), np.array([3, 4], "<f4").tobytes()))


@pytest.mark.parametrize("name", ["x", "x.bin", "x.npy", "x.safetensors", "x.pt", "-", "x.tar.gz"])
def test_a_single_file_is_recognised_by_its_content(name: str, tmp_path: Path) -> None:
    path = fresh(tmp_path / name, SAFETENSORS)
    assert [tensor.name for tensor in tensors(path)] == ["a"]
    (tensor,) = tensors(fresh(path, NPY))
    assert tensor.name == name.removesuffix(".npy")
    assert tensor.dtype.words == "<f4"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\n<!doctype html>", "HTML"),
        (b"<HTML>", "HTML"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x80\x02}q\x00", "pickle"),
        (b"\x80\x05\x95", "pickle"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".bin", ""])
def test_what_is_handed_over_by_mistake_is_called_by_its_name(
    head: bytes, said: str, suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(GradclipError, match=said):
        tensors(fresh(tmp_path / f"x{suffix}", head + bytes(5000)))


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ""])
def test_bytes_without_the_magic_are_no_array_whatever_the_file_is_called(
    suffix: str, tmp_path: Path
) -> None:
    raw = b"\x93NUMPX" + NPY[6:]
    with pytest.raises(GradclipError):
        tensors(fresh(tmp_path / f"x{suffix}", raw))


def test_a_folder_gives_its_dumps_in_natural_order_and_counts_the_rest(tmp_path: Path) -> None:
    names = ["w10.npy", "w2.npy", "sub/w1.npy", "sub/deep/x.npy"]
    for name in [*names, "notes.txt", "model.dat", "sub/.npy.swp", "no.npy~"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(NPY)
    dump = find([str(tmp_path)]).open()
    assert [file.relative for file in dump.files] == [*sorted(names[2:]), "w2.npy", "w10.npy"]
    assert [tensor.name for tensor in dump.tensors] == ["sub.deep.x", "sub.w1", "w2", "w10"]
    assert dump.ignored == 4


def test_a_folders_links_to_files_are_followed_and_links_to_folders_are_not(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "y.npy").write_bytes(NPY)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.npy").symlink_to(outside / "y.npy")
    (folder / "more").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    dump = find([str(folder)]).open()
    assert [file.relative for file in dump.files] == ["x.npy"]
    assert dump.links == (str(folder / "loop"), str(folder / "more"))


def test_links_to_folders_are_named_as_left_out_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "run" / "step-1").mkdir(parents=True)
    (tmp_path / "run" / "step-1" / "x.npy").write_bytes(NPY)
    shutil.copytree(tmp_path / "run" / "step-1", tmp_path / "run" / "step-2")
    (tmp_path / "run" / "step-2" / "loop").symlink_to(tmp_path)
    step, run = str(tmp_path / "run" / "step-2"), str(tmp_path / "run")
    note = f"1 linked folder left out: {step}/loop"
    assert note in gradclip_cli.inspect(step).notes
    assert note in gradclip_cli.diff(step, step).notes
    assert note in gradclip_cli.check(step).notes
    assert note in gradclip_cli.trend(f"{run}/step-1", step).notes
    assert note in gradclip_cli.trend(run).notes
    assert note in gradclip_cli.apply(step, clip_norm=1.0, output=tmp_path / "new/").notes
    os.unlink(f"{step}/x.npy")
    with pytest.raises(GradclipError, match="a folder without dumps") as said:
        find([step])
    assert said.value.hint == f"folders that are links are not followed: name {step}/loop itself"


def test_a_folders_members_must_parse(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(NPY)
    (tmp_path / "b.npy").write_bytes(SAFETENSORS[:-1])
    with pytest.raises(GradclipError, match=r"b\.npy: truncated: 1 of [0-9]+ bytes are missing"):
        find([str(tmp_path)]).open()


def test_a_subfolder_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(NPY)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # until the path is longer than 4,096 bytes, which not even root can read
        os.mkdir("n" * 250, dir_fd=here)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(OSError, match="too long"):
        find([str(tmp_path)]).open()


def test_a_fifo_in_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    done = gradclip("inspect", str(tmp_path))
    assert done.returncode == 2
    assert b"x.npy: a FIFO, not a regular file\n" in done.stderr


# A file that changes while it is read


def becomes_longer(path: Path) -> None:
    path.write_bytes(NPY + b"\0")


def becomes_shorter(path: Path) -> None:
    os.truncate(path, len(NPY) - 1)


def is_replaced(path: Path) -> None:
    fresh(path.with_suffix(".new"), NPY).replace(path)


def is_written_to(path: Path) -> None:
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def becomes_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[Callable[[Path], None], str] = {
    becomes_longer: f"its size went from {len(NPY)} to {len(NPY) + 1} bytes",
    becomes_shorter: f"its size went from {len(NPY)} to {len(NPY) - 1} bytes",
    is_replaced: "another file took its place",
    is_written_to: "it was written to",
}


@pytest.mark.parametrize(("change", "said"), [*CHANGES.items(), (becomes_a_folder, "a folder")])
def test_a_file_that_changed_since_its_header_was_read_is_refused(
    change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    (tensor,) = tensors(fresh(tmp_path / "x.npy", NPY))
    change(tmp_path / "x.npy")
    with pytest.raises(GradclipError, match=said), tensor.source.opened():
        pytest.fail("it was opened")


def read_while(change: Callable[[Path], None], path: Path, count: int) -> None:
    """Read some bytes of a new file's values after it changed."""
    (tensor,) = tensors(fresh(path, NPY))
    with tensor.source.opened() as file:
        change(path)
        file.read_exactly(memoryview(bytearray(count)), tensor.offset)


@pytest.mark.parametrize("change", [becomes_longer, becomes_shorter, is_written_to])
def test_a_file_that_changes_while_its_values_are_read_is_refused(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    with pytest.raises(GradclipError, match=CHANGES[change]):
        read_while(change, tmp_path / "x.npy", count=7)


def test_a_file_that_ends_while_its_values_are_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradclipError, match=f"ends after {len(NPY) - 1} bytes, in the middle"):
        read_while(becomes_shorter, tmp_path / "x.npy", count=8)


def test_a_stream_that_ends_in_a_tensor_that_is_passed_over_is_refused(tmp_path: Path) -> None:
    stored = {"steps": ("I64", (2,), bytes(16)), "a": ("F32", (2,), NPY[-8:])}
    fifo = tmp_path / "x"
    os.mkfifo(fifo)
    raw = safetensors_bytes(stored)[:-12]
    threading.Thread(target=fifo.write_bytes, args=[raw], daemon=True).start()
    with pytest.raises(GradclipError, match=f"ends after {len(raw)} bytes, in the middle"):
        gradclip_cli.inspect(fifo)


# What readers refuse


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"
NPY_HEADERS = {
    "unpacked dict": PLAIN[:-1] + ", **{}}",
    "unpacked dict instead": "{**" + PLAIN + "}",
    "list as a key": PLAIN[:-1] + ", []: 1}",
    "dict as a key": PLAIN[:-1] + ", {}: 1}",
    "set as a key": PLAIN[:-1] + ", {1}: 1}",
    "huge number as a key": PLAIN[:-1] + f", {HUGE}: 1}}",
    "huge number as a key twice": f"{{{HUGE}: 1, {HUGE}: 1}}",
    "huge number as fortran_order": PLAIN.replace("False", HUGE),
    "huge number as descr": PLAIN.replace("'<f4'", HUGE),
    "huge number as a side": PLAIN.replace("2", HUGE),
    "half a surrogate pair as descr": PLAIN.replace("<f4", "\\ud800"),
    "half a surrogate pair as a key": PLAIN.replace("descr", "\\ud800"),
    "a long within a string": PLAIN.replace("<f4", "<f4L").replace("2", "2L"),
    "indented": "\n " + PLAIN,
    "after a tab": "\t" + PLAIN,
    "a set": "{'descr', 'fortran_order', 'shape'}",
    "a dict and more": PLAIN + "['shape']",
    "a long": PLAIN.replace("2", "2L"),
    "a long after a line end": PLAIN.replace("2", "2\nL"),
    "a long after spaces": PLAIN.replace("2", "2 \t\fL"),
    "a long of zero": PLAIN.replace("2", "0L"),
    "a number as a key": PLAIN[:-1] + ", 1: 1}",
    "a number as a key twice": PLAIN[:-1] + ", 1: 1, 1: 1}",
    "bytes as a key": PLAIN.replace("'descr'", "b'descr'"),
    "a carriage return first": "\r" + PLAIN.replace("2", "2L"),
    "a carriage return last": PLAIN + "\r",
    "a parted long": PLAIN.replace("2", "2 L"),
    "a sum": PLAIN.replace("2", "1+1"),
    "a chain of sums": PLAIN.replace("2", "+".join("1" * 4_000)),
    "a chain of signs": PLAIN.replace("2", "-" * 9_000 + "2"),
    "a call": PLAIN.replace("False", "bool()"),
    "a lambda": "lambda: " + PLAIN,
    "a formatted string": PLAIN.replace("'descr'", "f'descr'"),
    "an unknown escape": PLAIN.replace("<f4", "\\q"),
    "a comment": PLAIN + " # <f4",
    "in parentheses": f"({PLAIN})",
    "nested too deep": PLAIN.replace("'<f4'", "[" * 150 + "]" * 150),
    "truth as a side": PLAIN.replace("(2,)", "(2, True)"),
    "a signed side": PLAIN.replace("2", "+2"),
    "minus zero as a side": PLAIN.replace("2", "-0"),
    "65 dimensions": PLAIN.replace("2,", "2, " + "1, " * 64),
    "empty, but 2**63 bytes without the 0": PLAIN.replace("2", f"0, {1 << 61}"),
    "empty, and 4 bytes less": PLAIN.replace("2", f"0, {(1 << 61) - 1}"),
    "10,000 bytes": PLAIN.ljust(9_999),
    "more than 10,000 bytes": PLAIN.ljust(10_001),
    "bytes as descr": PLAIN.replace("'<f4'", "b'<f4'"),
    "a sub-array": PLAIN.replace("'<f4'", "('<f4', (1,))"),
    "a dtype by its name": PLAIN.replace("<f4", "float32"),
    "nothing": "",
    "only spaces": " " * 60 + "\n",
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("text", NPY_HEADERS.values(), ids=NPY_HEADERS.keys())
def test_an_odd_npy_header_is_taken_only_if_numpy_takes_it(
    text: str, version: int, tmp_path: Path
) -> None:
    data = b"" if "0, " in text else bytes(8)
    for end in ("", "\n"):
        raw = npy_with(text + end, data, version)
        compare(tmp_path / "x.npy", raw, STRICTER_THAN_NUMPY)


F32 = '"F32"'
SAFETENSORS_HEADERS = {
    "65 dimensions": f'{{"a": {ENTRY.replace("[2", "[2" + ", 1" * 64)}}}',
    "null as metadata": f'{{"__metadata__": null, "a": {ENTRY}}}',
    "a tensor as metadata": f'{{"__metadata__": {ENTRY}}}',
    "half a surrogate pair as a name": f'{{"\\ud800": {ENTRY}}}',
    "half a surrogate pair in metadata": f'{{"__metadata__": {{"\\ud800": ""}}, "a": {ENTRY}}}',
    "half a surrogate pair, raw": f'{{"\ud800": {ENTRY}}}',
    "a surrogate pair as a name": f'{{"\\ud83d\\ude00": {ENTRY}}}',
    "an escaped name": f'{{"\\u0061": {ENTRY}}}',
    "the same name, escaped": f'{{"a": {ENTRY}, "\\u0061": {ENTRY}}}',
    "a byte order mark": f'\ufeff{{"a": {ENTRY}}}',
    "spaces on both sides": f' \t\r\n{{"a": {ENTRY}}} \t\r\n',
    "a form feed": f'\f{{"a": {ENTRY}}}',
    "a no-break space": f'{{"a":\xa0{ENTRY}}}',
    "two objects": f'{{"a": {ENTRY}}}{{}}',
    "a null byte last": f'{{"a": {ENTRY}}}\0',
    "minus zero": f'{{"a": {ENTRY.replace("[0", "[-0")}}}',
    "a fraction": f'{{"a": {ENTRY.replace("[2]", "[2.0]")}}}',
    "an exponent": f'{{"a": {ENTRY.replace("[2]", "[2e0]")}}}',
    "a leading zero": f'{{"a": {ENTRY.replace("[2]", "[02]")}}}',
    "truth as a side": f'{{"a": {ENTRY.replace("[2]", "[2, true]")}}}',
    "offsets turned round": f'{{"a": {ENTRY.replace("[0, 8]", "[8, 0]")}}}',
    "an end within a byte": f'{{"a": {ENTRY.replace("F32", "F4").replace("[2]", "[15]")}}}',
    "less than a byte too much": f'{{"a": {ENTRY.replace("F32", "F4").replace("[2]", "[17]")}}}',
    "a list as a dtype": f'{{"a": {ENTRY.replace(F32, "[]")}}}',
    "an object as a dtype": f'{{"a": {ENTRY.replace(F32, "{}")}}}',
    "no offsets": f'{{"a": {ENTRY.replace("[0, 8]", "null")}}}',
    "a number as offsets": f'{{"a": {ENTRY.replace("[0, 8]", "8")}}}',
    "a text as offsets": f'{{"a": {ENTRY.replace("[0, 8]", F32)}}}',
    "nested too deep": f'{{"a": {ENTRY}, "b": {"[" * 200 + "]" * 200}}}',
    "nested until the parser gives up": "[" * 100_000,
    "nothing": "",
    "an empty array": "[]",
}


@pytest.mark.parametrize("text", SAFETENSORS_HEADERS.values(), ids=SAFETENSORS_HEADERS.keys())
def test_an_odd_safetensors_header_is_taken_only_if_the_library_takes_it(
    text: str, tmp_path: Path
) -> None:
    raw = safetensors_with(text, bytes(8))
    compare(tmp_path / "x.safetensors", raw, STRICTER_THAN_SAFETENSORS)


STRICTER_EXAMPLES = {
    "npy": [
        NPY + b"\0",
        npy_with(PLAIN.replace("<f4", "|V2"), bytes(4)),
        npy_with(PLAIN.replace("<f4", "<f16"), bytes(32)),
        npy_with(PLAIN.replace("<f4", "<M8[s]"), bytes(16)),
        npy_with(PLAIN.replace("'<f4'", "[('a', '<f4')]"), bytes(8)),
        npy_with(PLAIN.replace("'shape'", "'shape': (1,), 'shape'"), bytes(8)),
        npy_with(PLAIN + "\r", bytes(8)),
        npy_with(PLAIN + "\n  ", bytes(8)),
        *([npy_with(PLAIN.replace("(2,", "(-1,"), bytes(8))] if TAKES_NEGATIVE else []),
    ],
    "safetensors": [
        safetensors_with(f'{{"a": {ENTRY}, "a": {ENTRY}}}', bytes(8)),
        safetensors_with(SAFETENSORS_HEADERS["65 dimensions"], bytes(8)),
    ],
}


AS_STRICT = {"no writer pads a header with line ends, of which parsers differ"}


@pytest.mark.parametrize("form", STRICTER_EXAMPLES)
def test_gradclip_is_stricter_than_the_reference_for_these_reasons(
    form: str, tmp_path: Path
) -> None:
    ends = [compare(tmp_path / f"x.{form}", raw, STRICTER[form]) for raw in STRICTER_EXAMPLES[form]]
    known = [reason.why for reason in STRICTER[form]]
    if sys.version_info >= (3, 12):  # whose tokenizer, and so NumPy's, is as strict in one of them
        known = ["refused by both" if why in AS_STRICT else why for why in known]
    assert ends == known


@pytest.mark.parametrize(("version", "start"), [(1, 10), (2, 12), (3, 12)])
def test_an_array_that_ends_before_its_header_is_too_short(
    version: int, start: int, tmp_path: Path
) -> None:
    raw = npy_with(PLAIN, bytes(8), version)
    for size in range(1, start):
        with pytest.raises(GradclipError, match=f"too short for an .npy file: {size} bytes"):
            tensors(fresh(tmp_path / "x.npy", raw[:size]))
    with pytest.raises(GradclipError, match="header is cut short: 0 of 55 bytes are there"):
        tensors(fresh(tmp_path / "x.npy", raw[:start]))


def test_a_brace_in_the_ninth_place_makes_no_safetensors_file(tmp_path: Path) -> None:
    with pytest.raises(GradclipError, match="an unknown kind of file"):
        tensors(fresh(tmp_path / "x.c", b"int f() {return 1;}"))


def test_the_library_is_asked_where_the_own_rules_have_a_gap(tmp_path: Path) -> None:
    raw = safetensors_with(SAFETENSORS_HEADERS["half a surrogate pair in metadata"], bytes(8))
    path = fresh(tmp_path / "x.safetensors", raw)
    assert by_safetensors(path) is None
    with pytest.raises(GradclipError, match="the safetensors library refuses the file"):
        tensors(path)


def test_the_library_is_asked_about_a_stream_too(tmp_path: Path) -> None:
    raw = safetensors_with(SAFETENSORS_HEADERS["half a surrogate pair in metadata"], bytes(8))
    fifo = tmp_path / "x"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=[raw], daemon=True).start()
    with pytest.raises(GradclipError, match="the safetensors library refuses the file"):
        tensors(fifo)


def test_a_name_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    raw = safetensors_with(SAFETENSORS_HEADERS["half a surrogate pair as a name"], bytes(8))
    with pytest.raises(GradclipError, match=r"tensor '\\ud800': the name holds half a surrogate"):
        tensors(fresh(tmp_path / "x.safetensors", raw))


def test_python_says_nothing_of_a_header_that_is_odd_python(tmp_path: Path) -> None:
    for number, text in enumerate(("'\\q'", "1 is 1", "0x1or 2")):
        fresh(tmp_path / f"{number}.npy", npy_with(PLAIN.replace("'<f4'", text), bytes(8)))
    text = (
        "import sys\n"
        "from gradclip_cli.formats.folders import GradclipError, find\n"
        "for path in sys.argv[1:]:\n"
        "    try: find([path]).open()\n"
        "    except GradclipError: print('refused')\n"
    )
    done = program(text, *sorted(tmp_path.glob("*.npy")))
    assert done == Said(0, "refused\n" * 3, "")


# The same for mutants of valid files

A_FEW = [
    pytest.param(
        *("--seed", seed, "--count", "5000"),
        id=f"a few, seed {seed}",
        marks=[] if seed == "1" else pytest.mark.heavy,
    )
    for seed in "1357"
]
MANY = pytest.param("--seed", "2025", "--seconds", "30", id="many", marks=pytest.mark.heavy)


def fuzzed(form: str, *options: str) -> str:
    """Run the fuzzer, which must find nothing, and give what it counted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--kind", form, *options],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize(("of", "seed", "until", "limit"), [*A_FEW, MANY])
def test_a_mutant_of_an_npy_file_is_taken_only_if_numpy_takes_it(
    of: str, seed: str, until: str, limit: str
) -> None:
    counted = fuzzed("npy", of, seed, until, limit)
    assert TAKEN in counted
    assert REFUSED in counted


@pytest.mark.parametrize(("of", "seed", "until", "limit"), [*A_FEW, MANY])
def test_a_mutant_of_a_safetensors_file_is_taken_only_if_the_library_takes_it(
    of: str, seed: str, until: str, limit: str
) -> None:
    counted = fuzzed("safetensors", of, seed, until, limit)
    assert TAKEN in counted
    assert REFUSED in counted


@pytest.mark.parametrize("form", ["npy", "safetensors"])
def test_a_finding_is_told_with_all_that_repeats_it(form: str, tmp_path: Path) -> None:
    with pytest.raises(Finding, match="stricter without a reason") as caught:
        fuzz(form, 1, itertools.count(), tmp_path, stricter=[])
    iteration = int(re.findall("--start ([0-9]+) --count 1", str(caught.value))[0])
    raw = base64.b64decode(str(caught.value).splitlines()[-1])
    assert raw == mutant(form, 1, iteration) != mutant(form, 2, iteration)
    with pytest.raises(Finding) as again:
        fuzz(form, 1, [iteration], tmp_path, stricter=[])
    assert str(again.value) == str(caught.value)
