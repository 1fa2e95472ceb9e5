"""The way it is done without gradclip: load every tensor, take norms, multiply, save.

`python -m benchmarks.naive numpy|torch inspect FILE` or `… clip FILE OUTPUT`; the limit is 1.
"""

import math
import sys
from collections.abc import Callable

CLIP_NORM = 1.0


def numpy_inspect(path: str) -> float:
    """Give the global norm by NumPy."""
    import numpy as np
    from safetensors.numpy import load_file

    norms = [float(np.linalg.norm(tensor)) for tensor in load_file(path).values()]
    return math.sqrt(sum(norm**2 for norm in norms))


def numpy_clip(path: str, output: str) -> float:
    """Clip by NumPy; gives the norm before."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    norm = math.sqrt(sum(float(np.linalg.norm(tensor)) ** 2 for tensor in tensors.values()))
    coefficient = np.float32(min(1.0, CLIP_NORM / norm))
    save_file({name: tensor * coefficient for name, tensor in tensors.items()}, output)
    return norm


def torch_inspect(path: str) -> float:
    """Give the global norm by torch."""
    import torch
    from safetensors.torch import load_file

    norms = [torch.linalg.vector_norm(tensor) for tensor in load_file(path).values()]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def torch_clip(path: str, output: str) -> float:
    """Clip by torch; gives the norm before."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    parameters = []
    for tensor in tensors.values():
        parameter = torch.empty_like(tensor)  # never touched, so it takes no memory
        parameter.grad = tensor
        parameters.append(parameter)
    norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    save_file(tensors, output)
    return float(norm)


_TASKS: dict[tuple[str, str], Callable[..., float]] = {
    ("numpy", "inspect"): numpy_inspect,
    ("numpy", "clip"): numpy_clip,
    ("torch", "inspect"): torch_inspect,
    ("torch", "clip"): torch_clip,
}


if __name__ == "__main__":
    library, task, *paths = sys.argv[1:]
    sys.stdout.write(f"{_TASKS[library, task](*paths)!r}\n")
