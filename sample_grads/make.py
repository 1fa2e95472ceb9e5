"""Make the sample gradients: a recurrent network trained without clipping until it explodes.

The task is the adding problem (Hochreiter and Schmidhuber 1997), one of the tasks of "On the
difficulty of training recurrent neural networks" (Pascanu, Mikolov, Bengio 2013): a sequence of
random numbers, two of them marked; the network must give their mean at the end. The network is a
tanh recurrent layer and a linear output, trained by back-propagation through time with plain
stochastic gradient descent in float32. Every value in every dump came out of that arithmetic; one
step is computed once more in float16, as mixed-precision training would, and overflows.

Run it with NumPy alone: `python sample_grads/make.py`. It writes beside itself, the same bytes at
every run on one machine.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Tensors = dict[str, Array]

SEED = 223
HIDDEN = 50
LENGTH = 100
BATCH = 20
RATE = np.float32(0.1)  # ten times what converges
SCALE = 0.134  # of the initial weights: the recurrent matrix has a spectral radius near 0.95
KEPT = range(10, 23)  # the steps around the explosion
SHOWN = 20  # its height: also kept as bfloat16 and as a folder of .npy
OVERFLOWN = 24  # a step too large for float16, computed in float16

HERE = Path(__file__).parent


def parameters(generator: np.random.Generator) -> Tensors:
    """Give the network's initial parameters, named as PyTorch names them."""

    def normal(*shape: int) -> Array:
        return (generator.standard_normal(shape) * SCALE).astype(np.float32)

    return {
        "rnn.weight_ih_l0": normal(HIDDEN, 2),
        "rnn.weight_hh_l0": normal(HIDDEN, HIDDEN),
        "rnn.bias_ih_l0": np.zeros(HIDDEN, np.float32),
        "rnn.bias_hh_l0": np.zeros(HIDDEN, np.float32),
        "head.weight": normal(1, HIDDEN),
        "head.bias": np.zeros(1, np.float32),
    }


def adding_problem(generator: np.random.Generator, length: int) -> tuple[Array, Array]:
    """Give a batch: inputs (length, batch, 2), a number and its mark each, and targets (batch, 1).

    One number of the first tenth is marked, and one of the rest of the first half.
    """
    inputs = np.zeros((length, BATCH, 2), np.float32)
    inputs[:, :, 0] = generator.random((length, BATCH), dtype=np.float32)
    each = np.arange(BATCH)
    first = generator.integers(0, length // 10, BATCH)
    second = generator.integers(length // 10, length // 2, BATCH)
    inputs[first, each, 1] = 1
    inputs[second, each, 1] = 1
    targets = (inputs[first, each, 0] + inputs[second, each, 0]) / 2
    return inputs, targets[:, None]


def gradients(weights: Mapping[str, Array], inputs: Array, targets: Array) -> tuple[float, Tensors]:
    """Give the mean squared error and its gradient, by back-propagation through time."""
    length, batch, _ = inputs.shape
    recurrent = weights["rnn.weight_hh_l0"]
    states = np.zeros((length + 1, batch, HIDDEN), recurrent.dtype)
    for step in range(length):
        states[step + 1] = np.tanh(
            inputs[step] @ weights["rnn.weight_ih_l0"].T
            + weights["rnn.bias_ih_l0"]
            + states[step] @ recurrent.T
            + weights["rnn.bias_hh_l0"]
        )
    error = states[-1] @ weights["head.weight"].T + weights["head.bias"] - targets
    slope = error * recurrent.dtype.type(2 / batch)
    found = {name: np.zeros_like(weight) for name, weight in weights.items()}
    found["head.weight"] += slope.T @ states[-1]
    found["head.bias"] += slope.sum(axis=0)
    back = slope @ weights["head.weight"]
    for step in reversed(range(length)):
        back = back * (1 - states[step + 1] ** 2)
        found["rnn.weight_ih_l0"] += back.T @ inputs[step]
        found["rnn.weight_hh_l0"] += back.T @ states[step]
        found["rnn.bias_ih_l0"] += back.sum(axis=0)
        back = back @ recurrent
    found["rnn.bias_hh_l0"] += found["rnn.bias_ih_l0"]
    return float(np.square(error).mean()), found


def as_bfloat16(values: Array) -> NDArray[np.uint16]:
    """Round finite float32 to the upper half of its bits, to nearest even."""
    bits = values.view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return rounded


def save_safetensors(
    path: Path, tensors: Mapping[str, NDArray[np.generic]], dtype: str, about: Mapping[str, str]
) -> None:
    """Write the safetensors format by hand: header length, JSON header, values."""
    header: dict[str, object] = {"__metadata__": dict(about)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    values = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def save_folder(folder: Path, tensors: Mapping[str, Array]) -> None:
    """Write each tensor to an `.npy` file of its name."""
    folder.mkdir(exist_ok=True)
    for name, tensor in tensors.items():
        np.save(folder / f"{name}.npy", tensor)


def main() -> None:
    """Train, and keep the gradients of the steps around the explosion."""
    generator = np.random.default_rng(SEED)
    weights = parameters(generator)
    for step in range(OVERFLOWN + 1):
        inputs, targets = adding_problem(generator, LENGTH)
        loss, found = gradients(weights, inputs, targets)
        about = {"task": "adding problem", "step": str(step), "loss": f"{loss:.6g}"}
        name = f"step-{step:02}"
        if step in KEPT:
            save_safetensors(HERE / f"{name}.safetensors", found, "F32", about)
        if step == SHOWN:
            upper = {key: as_bfloat16(tensor) for key, tensor in found.items()}
            save_safetensors(HERE / f"{name}-bfloat16.safetensors", upper, "BF16", about)
            save_folder(HERE / f"{name}-npy", found)
        if step == OVERFLOWN:
            narrow = {key: tensor.astype(np.float16) for key, tensor in weights.items()}
            with np.errstate(all="ignore"):  # this is what overflow means
                loss, found = gradients(
                    narrow, inputs.astype(np.float16), targets.astype(np.float16)
                )
            about["loss"] = f"{loss:.6g}"
            save_safetensors(HERE / f"{name}-float16.safetensors", found, "F16", about)
        weights = {key: weights[key] - RATE * found[key] for key in weights}
    np.save(HERE / "zero-to-nine.npy", np.arange(10))


if __name__ == "__main__":
    main()
