"""Write the folders of this folder: `python -m tests.formats.zarr.make zarr`, and `… orbax`.

With zarr 3.1.6, and orbax-checkpoint 0.12.8; one environment need not have both.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


def arrays() -> dict[str, NDArray[Any]]:
    """Give arrays of every dtype that Zarr has a word for, by the paths of both versions."""
    some = np.random.default_rng(7).standard_normal((5, 7))
    return {
        **{f"floats/{word}": some.astype(word) for word in ("f2", "f4", "f8")},
        "complex/c8": (some + 1j).astype("c8"),
        "count": np.arange(6, dtype="i4"),
        "scalar": np.array(2.5, "f4"),
        "zeros": np.zeros((4, 4), "f4"),
    }


def with_zarr(folder: Path, version: Literal[2, 3]) -> None:
    """Write groups of arrays in chunks, of one of which nothing is stored."""
    import zarr

    shutil.rmtree(folder, ignore_errors=True)
    group: Any = zarr.open_group(folder, mode="w", zarr_format=version)
    for name, array in arrays().items():
        chunks = tuple(min(side, 4) for side in array.shape)
        group.create_array(name, data=array, chunks=chunks or "auto")
    whole = arrays()["floats/f4"]
    group.create_array("be", data=whole.astype(">f4"), chunks=(5, 7))
    group.create_array("plain", data=whole, chunks=(2, 7), compressors=None)
    group.create_array("text", data=np.array(["a", "b"]))
    if version == 3:
        group.create_array("shards", data=whole, chunks=(1, 2), shards=(3, 4))


def tree() -> dict[str, Any]:
    """Give a tree for Orbax."""
    some = np.random.default_rng(8).standard_normal((4, 5)).astype("f4")
    return {
        "params": {"Dense_0": {"kernel": some, "bias": some[0]}, "list": [some[1], some[:2]]},
        "step": 7,
        "opt_state": {"mu": some},
    }


def with_orbax() -> None:
    """Write the database of files, folders of arrays as older versions do, and Zarr 3 in both."""
    import orbax.checkpoint as ocp

    for name, how in {
        "orbax": {},
        "per_array": {"use_ocdbt": False},
        "zarr3": {"use_zarr3": True},
    }.items():
        shutil.rmtree(HERE / name, ignore_errors=True)
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**how)).save(HERE / name, tree())
        for besides in ("_sharding", "array_metadatas"):
            path = HERE / name / besides
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    if "orbax" in sys.argv:
        with_orbax()
    else:
        with_zarr(HERE / "v2", 2)
        with_zarr(HERE / "v3", 3)
