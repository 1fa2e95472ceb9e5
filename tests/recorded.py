"""`vectors/clipping.json`: what the public test suites say, and what each peer returned."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.dumps import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Binary

VECTORS = Path(__file__).parent / "vectors" / "clipping.json"

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "clips by value, not by a norm": (
        *("tf-value", "tf-value-0type-float32", "tf-value-0type-bfloat16", "tf-value-0type-int32"),
        *("tf-value-0type-uint8", "tf-value-2type", "tf-value-badshape", "tf-value-slices-0"),
        *("tf-value-slices-2", "tf-value-doc2", "torch-value", "optax-clip-1e6"),
        "keras-clipvalue",
    ),
    "clips each tensor, or each slice of it, by its own norm": (
        *("tf-norm-clipped", "tf-norm-zero", "tf-norm-axis0", "tf-norm-axis1-notclipped"),
        *("keras-clipnorm",),
    ),
    "clips by the norm divided by the number of values": (
        *("tf-avg-clipped", "tf-avg-zero", "tf-avg-equals-norm"),
    ),
    "clips each tensor by its root mean square": ("optax-block-rms-1/1", "optax-block-rms-1/7"),
    "clips by the ratio of gradient to parameter": (
        *("optax-agc-1/1", "optax-agc-1/7", "optax-agc-2d", "optax-agc-conv3d", "optax-agc-6d"),
    ),
    "clips each example of a batch": (
        *("optax-per-example", "optax-per-example-doc-0.0", "optax-per-layer-uniform"),
    ),
    "clips by a norm that is not L2": (
        *("torch-arange-p0.5", "torch-arange-pinf", "p=inf", "p=0.5", "p=4.0", "p=-inf"),
        *("p=inf_nan", "p=-inf_empty"),
    ),
    "is about the arguments of a Keras optimizer": ("keras-exclusive",),
    "computes a limit from statistics of earlier steps": ("zclip-zscore",),
}
"""Cases of other rules, by what they do."""

PEERS = ("torch", "tf", "keras", "optax")


@dataclass(frozen=True)
class Array:
    """An array of the file: its dtype, and its values in C order, of complex ones both lanes."""

    dtype: str
    shape: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def form(self) -> Binary:
        """The format of a value or of its lanes."""
        names = {"float16": FLOAT16, "bfloat16": BFLOAT16, "float32": FLOAT32}
        return names.get(self.dtype, FLOAT32 if self.dtype == "complex64" else FLOAT64)


@dataclass(frozen=True)
class Answer:
    """What a peer is to return or returned; None where it raised an error, or nobody says."""

    norm: Array | None
    outputs: tuple[Array, ...] | None


@dataclass(frozen=True)
class Vector:
    """A case: what to clip, and the answers by peer; those of `acceptance` are its test's."""

    inputs: tuple[Array, ...]
    limit: float
    use_norm: float | None
    answers: dict[str, Answer]
    tolerance: float | None = None
    absolute: float = 0.0


@cache
def contents() -> dict[str, Any]:
    found = json.loads(VECTORS.read_text())
    assert isinstance(found, dict)
    return found


def acceptance() -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in contents()["acceptance"]}


def recorded_vector(name: str) -> Vector:
    case = contents()["recorded"][name]

    def read(some: dict[str, Any]) -> Array:
        return array(some["dtype"], some["shape"], some["v"])

    answers = {
        peer: Answer(
            read(result["norm"]) if "v" in result.get("norm", {}) else None,
            None
            if "error" in result or "out" not in result
            else tuple(read(some) for some in result["out"] if some is not None),
        )
        for peer, result in case["res"].items()
        if peer in PEERS
    }
    return Vector(
        tuple(read(some) for some in case["in"] if some is not None),
        float(case["clip"]),
        None if "use_norm" not in case else float(case["use_norm"]),
        answers,
    )


def array(dtype: str, shape: Sequence[int], data: object) -> Array:
    """Give an array of the file, its values rounded to its dtype as the file asks for."""
    form = Array(dtype, (), ()).form
    written = list(_flat(data))
    times = 1
    if "..." in written:  # as NumPy prints: what is left out is as what is beside it
        first, _, last = written
        assert first == last
        written, times = [first], math.prod(shape)
    parts = [part for one in written for part in _lanes(one, "complex" in dtype)]
    values = parts if "int" in dtype else [form.value(form.rounded(part)) for part in parts]
    assert len(values) * times == math.prod(shape) * (2 if "complex" in dtype else 1)
    return Array(dtype, tuple(shape), tuple(values) * times)


def _flat(data: object) -> Iterator[str | float]:
    if isinstance(data, list):
        for one in data:
            yield from _flat(one)
    else:
        assert isinstance(data, str | float | int)
        yield data


def _lanes(one: str | float, is_complex: bool) -> tuple[float, ...]:
    if is_complex:
        value = complex(one)
        return value.real, value.imag
    return (float(one),)


CODES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
