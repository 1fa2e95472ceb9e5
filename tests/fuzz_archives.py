"""Damaged archives, shard indexes and files of PyTorch, for `python -m tests.fuzz`.

The laws: gradclip raises nothing but a `GradclipError`, soon and without a warning; nothing is run,
and no file is made; and of an archive of arrays that it takes, NumPy says the same.
"""

import io
import json
import os
import random
import shutil
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import gradclip_cli
from gradclip_cli import GradclipError
from tests import dcps, pts
from tests.dcps import Chunk
from tests.dumps import floats, safetensors_bytes
from tests.findings import REFUSED, TAKEN, Finding, check_fit, fresh, nothing_else
from tests.mutants import few, with_other_bytes

SQUARE = np.arange(1, 13, dtype="<f4").reshape(3, 4)
ROW = SQUARE.ravel()
NUMBERS = [0, 1, 2, 8, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]


def damaged(chance: random.Random, raw: bytes) -> bytes:
    """Damage a file: bytes, numbers of its records, a piece taken out, put in or doubled."""
    data = bytearray(raw)
    for _ in few(chance):
        at = chance.randrange(len(data) + 1)
        way = chance.randrange(6)
        if way == 0:
            data = bytearray(with_other_bytes(chance, bytes(data)))
        elif way == 1:
            data[at : at + 4] = struct.pack("<I", chance.choice(NUMBERS))
        elif way == 2:
            data[at : at + 2] = struct.pack("<H", chance.choice(NUMBERS) & 0xFFFF)
        elif way == 3:
            del data[at : at + chance.randrange(1, 40)]
        elif way == 4:
            data[at:at] = data[at : at + chance.randrange(1, 40)]
        else:
            data[at:at] = bytes(chance.randrange(1, 9))
    return bytes(data) or b"\0"


@cache
def npz_models() -> list[bytes]:
    """Give sound archives of arrays."""
    arrays: dict[str, Any] = {
        "a": SQUARE,
        "b.w": np.asfortranarray(SQUARE.astype(">f8")),
        "i": np.arange(3),
    }
    found = []
    for save in (np.savez, np.savez_compressed):
        whole = io.BytesIO()
        save(whole, **arrays)
        found.append(whole.getvalue())
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", method) as archive:
            member = io.BytesIO()
            np.save(member, SQUARE)
            archive.writestr("a.npy", member.getvalue())
        found.append(whole.getvalue())
    return found


def with_npz(chance: random.Random, folder: Path) -> str:
    """Hold a damaged archive of arrays to the laws."""
    path = fresh(folder / "x.npz", damaged(chance, chance.choice(npz_models())))
    report = _looked_at(path)
    if report is None:
        return REFUSED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.load(path, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise Finding(f"taken, and NumPy refuses it: {error!r}") from error
    if {name: array.shape for name, array in found.items()} != {
        row.name: row.shape for row in report.tensors
    }:
        raise Finding(f"found {report.tensors}, NumPy {found}")
    return TAKEN


@cache
def pt_models() -> list[bytes]:
    """Give sound files of torch.save."""
    stored, other = pts.Stored.of("0", SQUARE), pts.Stored.of("1", SQUARE.astype("<f8"))
    root = {
        "a": stored.view(0, (3, 4), (4, 1)),
        "v": stored.view(1, (3, 2), (4, 2)),
        "n": [{"t": other.view(0, (4, 3), (1, 4))}, (2, None, 1.5, "x")],
    }
    here = Path(__file__).parent / "formats" / "pt"
    return [
        pts.archive(root, [stored, other]),
        pts.stream(root, [stored, other]),
        pts.tar([stored], {"a": ("0", (0, (3, 4), (4, 1)))}),
        *(path.read_bytes() for path in sorted(here.glob("*.pt"))),
    ]


def with_pt(chance: random.Random, folder: Path) -> str:
    """Hold a damaged file of torch.save to the laws."""
    raw = chance.choice(pt_models())
    if chance.random() < 0.5 and raw.startswith(b"PK"):  # so that the pickle is what is damaged
        raw = _with_another_pickle(chance, raw)
    else:
        raw = damaged(chance, raw)
    before = set(os.listdir(folder))
    report = _looked_at(fresh(folder / "x.pt", raw))
    if set(os.listdir(folder)) - before - {"x.pt"}:
        raise Finding("a file was made")
    return REFUSED if report is None else TAKEN


def _with_another_pickle(chance: random.Random, raw: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(whole, "w") as new:
        for about in old.infolist():
            data = old.read(about) if about.CRC else _raw(raw, about)
            if about.filename.endswith("data.pkl"):
                data = damaged(chance, data)
            new.writestr(zipfile.ZipInfo(about.filename), data)
    return whole.getvalue()


def _raw(raw: bytes, about: zipfile.ZipInfo) -> bytes:
    """Give a stored member that has no checksum."""
    name, extra = struct.unpack_from("<2H", raw, about.header_offset + 26)
    start = about.header_offset + 30 + name + extra
    return raw[start : start + about.file_size]


@cache
def dcp_models() -> list[dict[str, bytes]]:
    """Give the files of sound distributed checkpoints."""
    with tempfile.TemporaryDirectory() as place:
        chunks = dcps.split(SQUARE, [[1], [3]])
        dcps.write(Path(place), {"w": (SQUARE.shape, chunks), "b": ((12,), [Chunk((0,), ROW)])})
        made = {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}
    here = Path(__file__).parent / "formats" / "dcp" / "plain"
    return [made, {path.name: path.read_bytes() for path in sorted(here.iterdir())}]


def with_dcp(chance: random.Random, folder: Path) -> str:
    """Hold a damaged distributed checkpoint to the laws."""
    files = dict(chance.choice(dcp_models()))
    name = ".metadata" if chance.random() < 0.7 else chance.choice([*files])
    return _of_a_folder(chance, folder, files, name)


@cache
def zarr_models() -> list[dict[str, bytes]]:
    """Give the files of sound folders of Zarr and Orbax."""
    here = Path(__file__).parent / "formats" / "zarr"
    folders = [path for path in sorted(here.iterdir()) if path.is_dir() and path.name[0] != "_"]
    return [
        {str(path.relative_to(one)): path.read_bytes() for path in one.rglob("*") if path.is_file()}
        for one in folders
    ]


def with_zarr(chance: random.Random, folder: Path) -> str:
    """Hold a damaged folder of Zarr or Orbax to the laws."""
    files = dict(chance.choice(zarr_models()))
    return _of_a_folder(chance, folder, files, chance.choice([*files]))


def _of_a_folder(chance: random.Random, folder: Path, files: dict[str, bytes], name: str) -> str:
    """Damage a file of a folder, and hold it to the laws."""
    files[name] = damaged(chance, files[name])
    place = folder / "in"
    shutil.rmtree(place, ignore_errors=True)
    for path, raw in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(raw)
    before, inside = set(os.listdir(folder)), {*place.rglob("*")}
    report = _looked_at(place)
    if set(os.listdir(folder)) != before or {*place.rglob("*")} != inside:
        raise Finding("a file was made")
    return REFUSED if report is None else TAKEN


@cache
def models(suffix: str) -> list[bytes]:
    """Give the sound files of a format that a library has written."""
    here = Path(__file__).parent / "formats"
    return [path.read_bytes() for path in sorted(here.glob(f"*/*{suffix}"))]


def behind_a_library(suffix: str) -> Callable[[random.Random, Path], str]:
    """Give what holds a damaged file that a library reads to the laws."""

    def once(chance: random.Random, folder: Path) -> str:
        raw = damaged(chance, chance.choice(models(suffix)))
        return REFUSED if _looked_at(fresh(folder / f"x{suffix}", raw)) is None else TAKEN

    return once


LEAVES: list[Any] = [
    *(None, True, 0, -1, 1.5, "", "x", "..", "../x", "/etc/passwd", "~", "a/../b", "a\0b", [], {}),
    *("https://x/y", "\ud800", "\x1b[2J", "s1.safetensors", "s2.safetensors", "sub", ".", "s1"),
]
WORDS = ['"', "{", "}", "[", ":", ",", "\\u0000", "NaN", "1e999", '"a":', "\ufeff", "[" * 10_000]


def with_index(chance: random.Random, folder: Path) -> str:
    """Hold a damaged shard index to the laws."""
    for number, name in enumerate("ab", 1):
        path = folder / f"s{number}.safetensors"
        if not path.exists():
            path.write_bytes(safetensors_bytes({name: floats("F32", (2,), [3.0, 4.0])}))
    weights: dict[Any, Any] = {"a": "s1.safetensors", "b": "s2.safetensors"}
    index: dict[Any, Any] = {"metadata": {"total_size": 16}, "weight_map": weights}
    for _ in few(chance):
        target = chance.choice([index, weights])
        target[chance.choice(["a", "b", "c", "weight_map", "é", "metadata"])] = chance.choice(
            LEAVES
        )
    text = json.dumps(index)
    if chance.random() < 0.5:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(WORDS) + text[at + chance.randrange(3) :]
    raw = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.2:
        raw = with_other_bytes(chance, raw)
    report = _looked_at(fresh(folder / "model.safetensors.index.json", raw))
    if report is None:
        return REFUSED
    if not {row.name for row in report.tensors} <= {"a", "b"}:
        raise Finding(f"found {report.tensors}")
    return TAKEN


def _looked_at(path: Path) -> gradclip_cli.Report | None:
    """Inspect and check a file; None where either calls it bad."""
    report = None
    try:
        with nothing_else():
            report = gradclip_cli.inspect(path, workers=1)
    except GradclipError as error:
        check_fit(error)
    with nothing_else():
        is_sound = gradclip_cli.check(path).sound
    return report if is_sound else None


KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    "npz": with_npz,
    "pt": with_pt,
    "dcp": with_dcp,
    "hdf5": behind_a_library(".h5"),
    "flax": behind_a_library(".msgpack"),
    "zarr": with_zarr,
    "index": with_index,
}
