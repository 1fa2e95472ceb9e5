"""Arrays of the frameworks themselves, clipped in memory beside what the frameworks do.

They are not installed for the plain tests. With them, run:
python -m pytest tests/rules/test_peers_in_memory.py
"""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from tests.frameworks import installed, installed_jax

# The frameworks warn of each other and of NumPy, at their import and later.
pytestmark = pytest.mark.filterwarnings("ignore")

api: Any = gradclip_cli
SHAPES = ((3, 4), (5,), ())


def values(dtype: Any, scale: float = 3.0) -> list[Any]:
    numbers = np.random.default_rng(11)
    return [np.asarray(scale * numbers.standard_normal(shape)).astype(dtype) for shape in SHAPES]


def same(mine: Any, theirs: Any) -> None:
    # TensorFlow's bfloat16 without dimensions is no array to NumPy, but its `numpy()` is.
    mine, theirs = np.asarray(mine), np.asarray(getattr(theirs, "numpy", lambda: theirs)())
    assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
    assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensorflows_tensors_are_taken_and_its_results_given(dtype: str) -> None:
    tensorflow = installed("tensorflow")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    tensors = [None, *map(tensorflow.constant, values(kind))]
    theirs, their_norm = tensorflow.clip_by_global_norm(tensors, 1.5)
    mine, norm = api.clip_by_global_norm(tensors, 1.5, like="tensorflow")
    assert norm == pytest.approx(float(their_norm), rel=2e-2)
    assert mine[0] is theirs[0] is None
    for one, other in zip(mine[1:], theirs[1:], strict=True):
        same(one, other)
    for tensor in tensors[1:]:
        same(api.clip_by_norm(tensor, 1.5, like="tensorflow"), tensorflow.clip_by_norm(tensor, 1.5))
        same(
            api.clip_by_value(tensor, -1, 0.5, like="tensorflow"),
            tensorflow.clip_by_value(
                tensor, tensorflow.cast(-1, dtype), tensorflow.cast(0.5, dtype)
            ),
        )
    _, norm = api.clip_by_global_norm(tensors, tensorflow.constant(1.5), use_norm=their_norm)
    assert norm == float(their_norm)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_jaxs_arrays_are_taken(dtype: str) -> None:
    jax = installed_jax()
    arrays = [jax.numpy.asarray(one, dtype=dtype) for one in values("float32")]
    mine, norm = api.clip_by_global_norm(arrays, jax.numpy.asarray(1.5))
    theirs, their_norm = api.clip_by_global_norm([np.asarray(one) for one in arrays], 1.5)
    assert norm == their_norm
    for one, other in zip(mine, theirs, strict=True):
        same(one, other)
    assert api.inspect({str(n): one for n, one in enumerate(arrays)}).global_norm == norm


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_torchs_tensors_are_taken_and_its_results_given(dtype: str) -> None:
    torch = installed("torch")
    tensors = [torch.from_numpy(one.copy()) for one in values(dtype)]
    mine, _ = api.clip_by_global_norm(tensors, torch.tensor(1.5), like="torch")
    parameters = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor.clone()
    torch.nn.utils.clip_grad_norm_(parameters, 1.5)
    for one, parameter in zip(mine, parameters, strict=True):
        same(one, parameter.grad.numpy())


def test_what_torch_does_not_give_is_refused_with_a_line_that_works() -> None:
    torch = installed("torch")
    of: dict[str, Callable[[], Any]] = {
        "float32": lambda: torch.tensor([3.0, 4.0], requires_grad=True),
        "bfloat16": lambda: torch.tensor([3.0, 4.0], dtype=torch.bfloat16),
        "float8_e4m3fn": lambda: torch.tensor([3.0, 4.0]).to(torch.float8_e4m3fn),
        "float8_e5m2": lambda: torch.tensor([3.0, 4.0]).to(torch.float8_e5m2),
    }
    for dtype, make in of.items():
        t_list = [make()]
        with pytest.raises(GradclipError, match="NumPy cannot take it") as caught:
            api.clip_by_global_norm(t_list, 1.0)
        line = caught.value.hint.removeprefix("give ")
        names = {"t_list": t_list, "torch": torch, "ml_dtypes": ml_dtypes}
        taken = eval(line, names)
        assert taken.dtype.name == dtype
        assert api.global_norm([taken]) == 5.0
