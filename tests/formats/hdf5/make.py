"""Write the files of this folder with h5py: `python -m tests.formats.hdf5.make`, h5py 3.16.0."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


def values() -> dict[str, NDArray[Any]]:
    """Give arrays of every dtype that HDF5 has a word for."""
    chance = np.random.default_rng(5)
    some = chance.standard_normal((5, 7))
    floats = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")
    return {
        **{f"floats/{word[1:]}{'' if word < '=' else 'be'}": some.astype(word) for word in floats},
        "complex/c8": (some + 1j * some[::-1]).astype("c8"),
        "complex/c8be": (some - 1j).astype(">c8"),
        "flag": some > 0,
        "count": np.arange(6, dtype="<i4"),
        "scalar": np.array(2.5, "<f4"),
        "empty": np.zeros((0, 3), "<f4"),
    }


WAYS: dict[str, dict[str, Any]] = {
    "plain": {"chunks": (2, 3)},
    "gzip": {"chunks": (2, 3), "compression": "gzip"},
    "all": {"chunks": (5, 1), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"chunks": (1, 7), "compression": "lzf"},
    "grows": {"chunks": (2, 3), "maxshape": (None, None)},
}


def write(path: Path, **how: Any) -> None:
    """Write a file of everything."""
    import h5py

    some = values()
    with h5py.File(path, "w", **how) as file:
        for name, array in some.items():
            file[name] = array
        for name, way in WAYS.items():
            file.create_dataset(f"chunked/{name}", data=some["floats/f4"], **way)
        short = h5py.h5t.IEEE_F32BE.copy()
        short.set_fields(15, 7, 8, 0, 7)
        short.set_size(2)
        space = h5py.h5s.create_simple((3,))
        for order, short_name in ((h5py.h5t.ORDER_LE, b"bf16"), (h5py.h5t.ORDER_BE, b"bf16be")):
            short.set_order(order)
            made = h5py.h5d.create(file.id, short_name, short, space)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1.5, -2, 3], "<f4"))
        file["text"] = "words"
        file["record"] = np.zeros(2, [("x", "<f4"), ("n", "<i4")])
        file["optimizer/vars/0"] = np.ones(3, "<f4")
        file["tied"] = file["floats/f4"]
        file["soft"] = h5py.SoftLink("/floats/f4")
        file["round/about"] = file["/"]
        file["nowhere"] = h5py.SoftLink("/none")


if __name__ == "__main__":
    write(HERE / "old.h5", libver="earliest")
    write(HERE / "new.h5", libver="v114")  # that of 2.0 needs an h5py with it
