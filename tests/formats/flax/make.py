"""Write the files of this folder with Flax: `python -m tests.formats.flax.make`, flax 0.12.8."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def values() -> dict[str, Any]:
    """Give a tree of arrays of every dtype that counts."""
    import ml_dtypes
    import numpy as np

    chance = np.random.default_rng(6)
    some = chance.standard_normal((4, 5))
    short = {name: some.astype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn")}
    return {
        "params": {
            "Dense_0": {"kernel": some.astype("f4"), "bias": some[0].astype("f2")},
            **short,
            "complex": (some + 1j).astype("c8"),
            "double": some,
            "scalar": np.array(2.5, "f4"),
            "empty": np.zeros((0, 3), "f4"),
            "long": np.arange(11, dtype="f4"),
        },
        "step": 7,
        "lr": np.float32(0.5),
        "note": "words",
        "count": np.arange(3),
        "opt_state": {"0": {"mu": some.astype("f4")}},
    }


def main() -> None:
    """Write a tree, one whose long arrays are in pieces, and an array alone."""
    import jax
    from flax import serialization

    some = values()
    (HERE / "tree.msgpack").write_bytes(serialization.msgpack_serialize(some))
    serialization.MAX_CHUNK_SIZE = 40
    (HERE / "pieces.msgpack").write_bytes(serialization.msgpack_serialize(some))
    grads = jax.grad(lambda x: (x**2).sum())(jax.numpy.arange(3.0))
    (HERE / "alone.msgpack").write_bytes(serialization.msgpack_serialize(grads))


if __name__ == "__main__":
    main()
