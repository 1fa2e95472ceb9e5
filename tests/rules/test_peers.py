"""gradclip beside the frameworks themselves, for ordinary values, where they are right as well.

They are not installed for the plain tests. With them, run:
python -m pytest tests/rules/test_peers.py
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli.formats.folders import find
from gradclip_cli.tensors.codecs import decode
from tests.dumps import LANES, exact_norm, lanes, read_safetensors, write_safetensors
from tests.frameworks import installed, installed_jax
from tests.running import TOP

# The frameworks warn of each other and of NumPy, at their import and later.
pytestmark = pytest.mark.filterwarnings("ignore")

Arrays = Sequence[NDArray[Any]]
Clipped = tuple[float, Arrays]
"""A peer's norm, and its results as float64."""

CODES = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16"}


def torch_clip(tensors: Arrays, dtype: str, limit: float) -> Clipped:
    """Torch adds 1e-6 to the norm that it divides by; that is taken out of its answer."""
    torch = installed("torch")
    parameters = []
    for tensor in tensors:
        parameter = torch.nn.Parameter(torch.zeros(tensor.shape, dtype=getattr(torch, dtype)))
        parameter.grad = torch.tensor(tensor).to(getattr(torch, dtype))
        parameters.append(parameter)
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit).double().item()
    scale = (norm + 1e-6) / norm if norm > limit else 1.0
    return norm, [parameter.grad.double().numpy() * scale for parameter in parameters]


def tensorflow_clip(tensors: Arrays, dtype: str, limit: float) -> Clipped:
    tensorflow = installed("tensorflow")
    given = [tensorflow.cast(tensorflow.constant(tensor), dtype) for tensor in tensors]
    clipped, norm = tensorflow.clip_by_global_norm(given, limit)
    return float(norm), [tensorflow.cast(each, "float64").numpy() for each in clipped]


def keras_clip(tensors: Arrays, dtype: str, limit: float) -> Clipped:
    """Keras clips inside its optimizers: one step from zero with a rate of 1."""
    keras = installed("keras")
    variables = [keras.Variable(np.zeros(tensor.shape), dtype=dtype) for tensor in tensors]
    given = [keras.ops.cast(tensor, dtype) for tensor in tensors]
    keras.optimizers.SGD(1.0, global_clipnorm=limit).apply(given, variables)
    return math.nan, [-np.array(keras.ops.cast(each, "float64")) for each in variables]


def optax_clip(tensors: Arrays, dtype: str, limit: float) -> Clipped:
    optax, jax = installed("optax"), installed_jax()
    given = [jax.numpy.asarray(tensor).astype(dtype) for tensor in tensors]
    rule = optax.clip_by_global_norm(limit)
    clipped, _ = rule.update(given, rule.init(given))
    norm = float(optax.global_norm(given))
    return norm, [np.asarray(each.astype("float64")) for each in clipped]


@dataclass(frozen=True)
class Peer:
    """A framework, and how it clips by global norm."""

    name: str
    clip: Callable[[Arrays, str, float], Clipped]


PEERS = (
    Peer("torch", torch_clip),
    Peer("tensorflow", tensorflow_clip),
    Peer("keras", keras_clip),
    Peer("optax", optax_clip),
)
every_peer = pytest.mark.parametrize("peer", PEERS, ids=[each.name for each in PEERS])


def stored(tensor: NDArray[np.float64], dtype: str) -> bytes:
    """Give the bytes of an array in a dtype, of bfloat16 cut and not rounded."""
    if dtype == "bfloat16":
        return (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return tensor.astype(np.dtype(dtype).newbyteorder("<")).tobytes()


def random_tensors(seed: int, dtype: str, shapes: Sequence[tuple[int, ...]]) -> Arrays:
    """Give float64 arrays of values that the dtype has."""
    numbers = np.random.default_rng(seed)
    size = numbers.uniform(0.5, 10)
    tensors = [np.array(numbers.standard_normal(shape) * size) for shape in shapes]
    form = LANES[CODES[dtype]]
    return [
        np.array(form.load(stored(tensor, dtype))).reshape(shape)
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]


def write(path: Path, tensors: Arrays, dtype: str) -> Path:
    return write_safetensors(
        path,
        {
            f"g{at}": (CODES[dtype], tensor.shape, stored(tensor, dtype))
            for at, tensor in enumerate(tensors)
        },
    )


SHAPES = ((), (3,), (4, 5), (2, 3, 4))


@every_peer
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("seed", range(4))
def test_ordinary_values_are_clipped_as_the_peer_clips_them(
    tmp_path: Path, peer: Peer, dtype: str, seed: int
) -> None:
    tensors = random_tensors(seed, dtype, SHAPES)
    limit = 0.75
    norm, theirs = peer.clip(tensors, dtype, limit)

    source = write(tmp_path / "in", tensors, dtype)
    report = gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out")

    epsilon = 2.0 ** -LANES[CODES[dtype]].fraction_bits
    assert report.clipped is not None
    assert report.clipped.clipped
    if not math.isnan(norm):
        assert report.global_norm == pytest.approx(norm, rel=4 * epsilon)
    written = read_safetensors(tmp_path / "out").tensors
    for at, expected in enumerate(theirs):
        mine = np.array(lanes(written[f"g{at}"])).reshape(expected.shape)
        np.testing.assert_allclose(mine, expected, rtol=4 * epsilon, atol=0)


@every_peer
@pytest.mark.parametrize("dtype", CODES)
def test_values_within_the_limit_stay_with_the_peer_too(
    tmp_path: Path, peer: Peer, dtype: str
) -> None:
    tensors = random_tensors(5, dtype, SHAPES)
    _, theirs = peer.clip(tensors, dtype, 1000.0)

    source = write(tmp_path / "in", tensors, dtype)
    gradclip_cli.apply(source, clip_norm=1000.0, output=tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    for tensor, expected in zip(tensors, theirs, strict=True):
        np.testing.assert_allclose(tensor, expected, rtol=2.0 ** -LANES[CODES[dtype]].fraction_bits)


@pytest.mark.parametrize(
    "peer", [each for each in PEERS if each.name != "keras"], ids=lambda p: p.name
)
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("count", [10, 20_000])
def test_no_peer_has_a_norm_closer_to_the_exact_one_but_for_a_last_digit(
    tmp_path: Path, peer: Peer, dtype: str, count: int
) -> None:
    tensors = random_tensors(count, dtype, [(count,)])
    exact = exact_norm(tensors[0].tolist())
    norm, _ = peer.clip(tensors, dtype, 1.0)

    mine = gradclip_cli.inspect(write(tmp_path / "in", tensors, dtype)).global_norm

    assert abs(mine - exact) <= max(abs(norm - exact), math.ulp(exact))
    assert mine == pytest.approx(exact, rel=1e-15)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [
        ("F16", "float16"),
        ("BF16", "bfloat16"),
        ("F8_E4M3", "float8_e4m3fn"),
        ("F8_E5M2", "float8_e5m2"),
    ],
)
def test_what_torch_saves_is_decoded_as_torch_decodes_it(
    tmp_path: Path, code: str, dtype: str
) -> None:
    torch = installed("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    form = LANES[code]
    tensor = torch.frombuffer(
        bytearray(form.pack(range(1 << form.bits))), dtype=getattr(torch, dtype)
    )
    path = tmp_path / "codes.safetensors"
    save_file({"codes": tensor}, path)

    (found,) = find([str(path)]).open().tensors
    stored = np.frombuffer(path.read_bytes()[found.offset : found.offset + found.size], np.uint8)
    with np.errstate(all="ignore"):
        mine = decode(stored, found.dtype).astype(np.float64)

    assert found.dtype.name == dtype
    theirs = tensor.double().numpy()
    np.testing.assert_array_equal(mine, theirs)
    numbers = ~np.isnan(theirs)
    np.testing.assert_array_equal(np.signbit(mine[numbers]), np.signbit(theirs[numbers]))


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "complex64"],
)
def test_torch_reads_what_gradclip_writes(tmp_path: Path, dtype: str) -> None:
    torch = installed("torch")
    library = pytest.importorskip("safetensors.torch")
    torch.manual_seed(1)
    tensors = {
        "a": torch.randn(7, 5).to(getattr(torch, dtype)),
        "b": torch.randn(()).to(getattr(torch, dtype)),
    }
    library.save_file(tensors, tmp_path / "in.safetensors", {"format": "pt"})

    report = gradclip_cli.apply(
        tmp_path / "in.safetensors", clip_norm=1.0, output=tmp_path / "out.safetensors"
    )

    assert report.clipped is not None
    written = library.load_file(tmp_path / "out.safetensors")
    wide = torch.complex128 if dtype.startswith("complex") else torch.float64
    for name, tensor in tensors.items():
        product = tensor.to(wide) * report.clipped.coefficient
        assert written[name].dtype == tensor.dtype
        assert written[name].shape == tensor.shape
        epsilon = {"float8_e4m3fn": 2.0**-3, "float8_e5m2": 2.0**-2}.get(dtype)
        if epsilon is None:
            epsilon = torch.finfo(getattr(torch, dtype)).eps
        near = abs(written[name].to(wide) - product) <= abs(product) * epsilon / 2 + 2.0**-9
        assert bool(near.all())


def test_the_docs_table_of_wrong_answers_is_what_the_script_prints() -> None:
    for module in ("torch", "tensorflow", "keras", "optax"):
        installed(module)
    from benchmarks.wrong import table

    assert table() in (TOP / "docs" / "rules.md").read_text("utf-8")
