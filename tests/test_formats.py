"""Where tensors lie: what a writer wrote is found to the byte, what a reader refuses is refused.

The oracles are NumPy's own reader and the safetensors library. Where gradclip is stricter than
they are, the reason stands in a table here.
"""

import copy
import io
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradclip_cli import GradclipError
from gradclip_cli.dump import Tensor
from gradclip_cli.formats import open_dump
from tests.dumps import Stored, npy_bytes, safetensors_bytes

Found = list[tuple[str | None, str, tuple[int, ...], bytes]]
"""Name, dtype, shape and bytes of each tensor, as a reader gives them."""


def tensors(path: Path) -> tuple[Tensor, ...]:
    """Give the tensors of a file."""
    return open_dump([str(path)]).tensors


def bytes_of(tensor: Tensor, raw: bytes) -> bytes:
    """Give what stands in a file where gradclip says that a tensor lies."""
    assert 0 <= tensor.offset <= tensor.offset + tensor.size <= len(raw)
    return raw[tensor.offset : tensor.offset + tensor.size]


def fresh(path: Path, raw: bytes) -> Path:
    """Write a new file; to overwrite an old one costs a flush to the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    return path


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


@settings(deadline=None, max_examples=300)
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


@settings(deadline=None, max_examples=200)
@given(
    arrays=st.dictionaries(TENSOR_NAMES, arrays_of(KNOWN_TO_SAFETENSORS), max_size=6),
    # safetensors 0.8 writes a file that it cannot read where the metadata is an empty map.
    metadata=st.none() | st.dictionaries(st.text(), st.text(), min_size=1, max_size=3),
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
        assert located(tmp_path / "x.safetensors", raw) == by_safetensors(raw)
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
        (b"\x89HDF\r\n", "HDF5"),
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
    for name in [*names, "notes.txt", "model.bin", "sub/.npy.swp", "NO.NPY"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(NPY)
    dump = open_dump([str(tmp_path)])
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
    dump = open_dump([str(folder)])
    assert [file.relative for file in dump.files] == ["x.npy"]


def test_a_folders_members_must_parse(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(NPY)
    (tmp_path / "b.npy").write_bytes(SAFETENSORS[:-1])
    with pytest.raises(GradclipError, match=r"b\.npy: truncated: 1 of [0-9]+ bytes are missing"):
        open_dump([str(tmp_path)])


def test_a_fifo_in_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(GradclipError, match=r"x\.npy: a FIFO, not a regular file"):
        open_dump([str(tmp_path)])


# What readers refuse


def by_safetensors(raw: bytes) -> Found | None:
    """Read a file as the safetensors library does; None where it refuses."""
    try:
        found = safetensors.deserialize(raw)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return None
    return sorted(
        (name, part["dtype"], tuple(part["shape"]), bytes(part["data"])) for name, part in found
    )


def by_numpy(raw: bytes) -> Found | None:
    """Read a file as NumPy does without pickle; None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except Exception:
        return None
    return [("x", array.dtype.name, array.shape, array.tobytes("A"))]


SAFETENSORS_CODES = {
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bool": "BOOL",
    "complex64": "C64",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float6_e2m3fn": "F6_E2M3",
    "float6_e3m2fn": "F6_E3M2",
    "float4_e2m1fn": "F4",
}


def located(path: Path, raw: bytes) -> Found:
    """Read a file at the places that gradclip gives; raises `GradclipError` where it refuses."""
    is_npy = path.suffix == ".npy"
    return sorted(
        (
            tensor.name,
            tensor.dtype.name if is_npy else SAFETENSORS_CODES[tensor.dtype.name],
            tensor.shape,
            bytes_of(tensor, raw),
        )
        for tensor in tensors(path)
    )


Reason = tuple[str, str, str]
"""Why gradclip is stricter than the reference, its message, and what then stands in the file."""

STRICTER_THAN_SAFETENSORS: list[Reason] = [
    (
        "an unknown field hides something from one reader that another reads",
        r"tensor '.*': the field .* is not one of the format",
        "",
    ),
    (
        "of a key that stands there twice the last wins, elsewhere the first",
        "the safetensors header says '.*' twice",
        "",
    ),
    (
        "no framework has arrays of so many dimensions",
        "tensor '.*': 65 dimensions are more than the limit of 64",
        "",
    ),
    (
        "metadata that is null is no map",
        "__metadata__ must map strings to strings, and does not",
        r'"__metadata__"\s*:\s*null',
    ),
]
STRICTER_THAN_NUMPY: list[Reason] = [
    (
        "np.load reads the first array of a file and says nothing of the rest",
        "[0-9,]+ bytes follow the last tensor",
        "",
    ),
    (
        "what is no number has no norm, and a number's dtype is written as np.save writes it",
        "the array's dtype is .*, (which is not a number|as NumPy saves)|bytes without a meaning",
        r"descr['\"]\s*:\s*(?!['\"][<>|=]?(f[248]|c8|c16)['\"])",
    ),
    (
        "of a key that stands there twice the last wins",
        r"the \.npy header says '.*' twice",
        "",
    ),
    (
        "a carriage return at the end means that line ends were converted",
        "the .npy header ends in a carriage return",
        r"\r",
    ),
    (
        "no writer puts tabs, continued lines or a parted 2 L into a header",
        "the .npy header is not a plain Python dict",
        r"[\t\f\r]|\\\n|[0-9]\s+L",
    ),
    (
        "no writer begins a header with anything but its brace",
        "the .npy header is not a plain Python dict",
        r"^\x93NUMPY(\x01\x00(?s:..)|[\x02\x03]\x00(?s:....))[^{]",
    ),
]
# All that the library finds and gradclip's own rules do not: half a surrogate pair in metadata.
LEFT_TO_THE_LIBRARY = "unexpected end of hex escape"


def check_as_strict(
    path: Path,
    raw: bytes,
    reference: Callable[[bytes], Found | None],
    reasons: Sequence[Reason],
) -> str:
    """Check that gradclip takes what the reference takes, but for the reasons, and nothing else.

    Gives a word for what came of it.
    """
    fresh(path, raw)
    expected = reference(raw)
    try:
        found = located(path, raw)
    except GradclipError as error:
        if "library refuses" in error.problem and LEFT_TO_THE_LIBRARY not in error.problem:
            raise AssertionError(f"only the library refuses: {error.problem}: {raw!r}") from error
        if expected is None:
            return "refused by both"
        for reason, message, content in reasons:
            if re.match(message, error.problem) and re.search(content, raw.decode("latin-1")):
                return reason
        raise AssertionError(f"stricter without a reason: {error.problem}: {raw!r}") from error
    except Exception as error:
        raise AssertionError(f"a crash: {error!r}: {raw!r}") from error
    assert expected is not None, f"the reference refuses this: {raw!r}"
    assert found == expected, raw
    return "taken by both"


def npy_with(text: str, data: bytes, version: int = 1) -> bytes:
    """Put an npy file together whose header is any text."""
    header = text.encode("utf-8" if version == 3 else "latin-1", "replace")
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack(width, len(header)) + header + data


def safetensors_with(text: str, data: bytes) -> bytes:
    """Put a safetensors file together whose header is any text."""
    header = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header)) + header + data


HUGE = "0x" + "f" * 5_000
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
        check_as_strict(tmp_path / "x.npy", raw, by_numpy, STRICTER_THAN_NUMPY)


ENTRY = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
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
    "nested too deep": f'{{"a": {ENTRY}, "b": {"[" * 200 + "]" * 200}}}',
    "nothing": "",
    "an empty array": "[]",
}


@pytest.mark.parametrize("text", SAFETENSORS_HEADERS.values(), ids=SAFETENSORS_HEADERS.keys())
def test_an_odd_safetensors_header_is_taken_only_if_the_library_takes_it(
    text: str, tmp_path: Path
) -> None:
    raw = safetensors_with(text, bytes(8))
    path = tmp_path / "x.safetensors"
    check_as_strict(path, raw, by_safetensors, STRICTER_THAN_SAFETENSORS)


def test_the_library_is_asked_where_the_own_rules_have_a_gap(tmp_path: Path) -> None:
    raw = safetensors_with(SAFETENSORS_HEADERS["half a surrogate pair in metadata"], bytes(8))
    assert by_safetensors(raw) is None
    with pytest.raises(GradclipError, match="the safetensors library refuses the file"):
        tensors(fresh(tmp_path / "x.safetensors", raw))


def test_a_name_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    raw = safetensors_with(SAFETENSORS_HEADERS["half a surrogate pair as a name"], bytes(8))
    with pytest.raises(GradclipError, match=r"tensor '\\ud800': the name holds half a surrogate"):
        tensors(fresh(tmp_path / "x.safetensors", raw))


def test_python_says_nothing_of_a_header_that_is_odd_python(tmp_path: Path) -> None:
    for number, text in enumerate(("'\\q'", "1 is 1", "0x1or 2")):
        fresh(tmp_path / f"{number}.npy", npy_with(PLAIN.replace("'<f4'", text), bytes(8)))
    program = (
        "import sys\n"
        "from gradclip_cli.formats import GradclipError, open_dump\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_dump([path])\n"
        "    except GradclipError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *sorted(tmp_path.glob("*.npy"))],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert (done.stdout, done.stderr) == ("refused\n" * 3, "")


# The same for mutants of valid files

NPY_MODELS = [
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n", 8),
    ("{'descr': '>f8', 'fortran_order': True, 'shape': (2, 2), }\n", 32),
    ("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", 1),
    ("{'descr': '<c16', 'fortran_order': False, 'shape': (3L, 0L), }   \n", 0),
]
NPY_WORDS = [
    *"'\"{}[]():,01238#~\\\0\r\t\f\x0b\xa0\né -+",
    *("None", "True", "False", "-1", "-0", "1L", "0L", "2l", "1.0", "2e0", "1j", "0x2", "1_0"),
    *("02", "9223372036854775807", "18446744073709551616", "4611686018427387904", HUGE, "1+1"),
    *("'descr'", "'fortran_order'", "'shape'", "'x'", "''", "'<f4'", "'>f4'", "'=f4'", "'|f4'"),
    *("'f4'", "'<f2'", "'<f8'", "'<f16'", "'float32'", "'f'", "'|O'", "'|V4'", "'|V2'", "'|S4'"),
    *("'<U1'", "'<M8[s]'", "'?'", "'>b1'", "'|u1'", "'<i4'", "'<c8'", "'f4,f4'", "'<f4L'"),
    *("b'<f4'", "u'x'", "f'x'", "'\\ud800'", "'\\x1b[31m'", "**{}", "...", "set()", "{}", "[]"),
    *("()", "{1}", "[('a','<f4')]", "('<f4',(2,))", "'shape':(2,),", "[]:1,", "#x\n", "\\\n"),
    *("(" * 100, ")" * 100, "not ", "lambda:"),
]
NPY_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[0-9]+L?|\w+|\s+|.", re.DOTALL)

SAFETENSORS_MODELS = [
    SAFETENSORS,
    safetensors_bytes(
        {
            "a": ("F32", (2, 2), bytes(16)),
            "b": ("BF16", (3,), b"123456"),
            "": ("F8_E4M3", (2,), b"78"),
        },
        {"format": "pt"},
    ),
    safetensors_bytes(
        {"x": ("F64", (), bytes(8)), "y": ("I64", (0, 3), b""), "z": ("F4", (4,), b"..")}, {}
    ),
    safetensors_bytes(
        {"é\n": ("C64", (1,), bytes(8)), "s": ("BOOL", (1, 1), b"\1"), "u": ("U8", (2,), b"12")},
        lie=["u", "é\n", "s"],
    ),
]
SAFETENSORS_WORDS = [
    *'"{}[],: \n\t\r\0\x7f\x0b\f\xa0\ufeff\u2028',
    *("null", "true", "NaN", "Infinity", "-Infinity", "-1", "-0", "0", "1", "2", "3", "4", "8"),
    *("16", "1e0", "1E2", "1.0", "01", "+1", "0x1", "1_0", "18446744073709551615", "4294967296"),
    *("18446744073709551616", "9223372036854775808", '"F32"', '"F16"', '"BF16"', '"F64"'),
    *('"U8"', '"F4"', '"F6_E2M3"', '"F8_E8M0"', '"C64"', '"BOOL"', '"I8"', '"f32"', '"F128"'),
    *('"a"', '""', '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"extra"'),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\u0061"', '"\\x"', '"\\u00"', '"\\/"', '"\\u0000"'),
    *("//", "/**/", '"\x1f"', "[]", "{}", "[0,0]", '"x":1,', '{"k":"v"}', "[" * 150 + "]" * 150),
    f'"a":{ENTRY},',
]
SAFETENSORS_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.eE+]+|\s+|.', re.DOTALL)
LEAVES: list[Any] = [
    *(None, True, 0, 1, 2, 3, 4, 8, 1 << 32, 1 << 63, (1 << 64) - 1, 1 << 64, -1, 1.0, 1.5),
    *("F32", "F16", "F4", "F64", "C64", "U8", "x", "", [], {}, [0], [1, 2], [0, 0], {"a": "b"}),
]


def few(rng: random.Random) -> range:
    """Give how many changes a mutant has."""
    return range(rng.choice((1, 1, 1, 2, 2, 3)))


def with_other_words(
    rng: random.Random, text: str, token: re.Pattern[str], words: Sequence[str]
) -> str:
    """Change a few words of a text."""
    found = token.findall(text)
    for _ in few(rng):
        if not found:
            break
        here, there = rng.randrange(len(found)), rng.randrange(len(found))
        match rng.randrange(7):
            case 0:
                del found[here]
            case 1:
                found.insert(here, found[there])
            case 2 | 3:
                found[here] = rng.choice(words)
            case 4:
                found.insert(here, rng.choice(words))
            case 5:
                found[here], found[there] = found[there], found[here]
            case _:
                found[here:here] = found[min(here, there) : max(here, there)]
    return "".join(found)


def with_other_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Change a few bytes of a file, its end among them."""
    data = bytearray(raw)
    for _ in few(rng):
        if not data:
            break
        here = rng.randrange(len(data))
        match rng.randrange(6):
            case 0:
                data[here] ^= 1 << rng.randrange(8)
            case 1:
                data[here] = rng.randrange(256)
            case 2:
                del data[here]
            case 3:
                data.insert(here, rng.randrange(256))
            case 4:
                del data[here:]
            case _:
                data += bytes(rng.randrange(1, 20))
    return bytes(data)


def with_other_leaves(rng: random.Random, text: str) -> str:
    """Change a few values of a JSON object."""
    tree = json.loads(text)
    for _ in few(rng):
        places = [(place, key) for place, key in _places(tree)]
        if not places:
            break
        place, key = rng.choice(places)
        match rng.randrange(4):
            case 0 if isinstance(place[key], int):
                place[key] += rng.choice((-8, -4, -1, 1, 2, 4, 8))
            case 1:
                del place[key]
            case 2 if isinstance(place, dict):
                name = rng.choice(["extra", "a", "b", "dtype", "__metadata__", "é", "\ud800"])
                place[name] = copy.deepcopy(rng.choice([*LEAVES, place[key]]))
            case _:
                place[key] = copy.deepcopy(rng.choice(LEAVES))
    return json.dumps(tree, ensure_ascii=rng.random() < 0.5)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def npy_mutants(seed: int) -> Iterator[bytes]:
    """Give damaged npy files without end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        text, size = rng.choice(NPY_MODELS)
        version = rng.choice((1, 1, 2, 3))
        if rng.random() < 0.3:
            yield with_other_bytes(rng, npy_with(text, bytes(size), version))
        else:
            text = with_other_words(rng, text, NPY_TOKEN, NPY_WORDS)
            size = size if rng.random() < 0.8 else rng.randrange(40)
            yield npy_with(text, bytes(size), version)


def safetensors_mutants(seed: int) -> Iterator[bytes]:
    """Give damaged safetensors files without end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        raw = rng.choice(SAFETENSORS_MODELS)
        length = int.from_bytes(raw[:8], "little")
        text, data = raw[8 : 8 + length].decode(), raw[8 + length :]
        match rng.randrange(3):
            case 0:
                yield with_other_bytes(rng, raw)
            case 1:
                text = with_other_words(rng, text, SAFETENSORS_TOKEN, SAFETENSORS_WORDS)
                yield safetensors_with(text, data)
            case _:
                yield safetensors_with(with_other_leaves(rng, text), data)


A_FEW = pytest.param(7, 4_000, id="a few")
MANY = pytest.param(2_025, 100_000, id="many", marks=pytest.mark.heavy)


@pytest.mark.parametrize(("seed", "count"), [A_FEW, MANY])
def test_a_mutant_of_an_npy_file_is_taken_only_if_numpy_takes_it(
    seed: int, count: int, tmp_path: Path
) -> None:
    ends = {
        check_as_strict(tmp_path / "x.npy", raw, by_numpy, STRICTER_THAN_NUMPY)
        for raw in itertools.islice(npy_mutants(seed), count)
    }
    assert {"refused by both", "taken by both"} <= ends


@pytest.mark.parametrize(("seed", "count"), [A_FEW, MANY])
def test_a_mutant_of_a_safetensors_file_is_taken_only_if_the_library_takes_it(
    seed: int, count: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    ends = {
        check_as_strict(path, raw, by_safetensors, STRICTER_THAN_SAFETENSORS)
        for raw in itertools.islice(safetensors_mutants(seed), count)
    }
    assert {"refused by both", "taken by both"} <= ends
