"""Which tensors of a checkpoint are its gradients, by their names: for formats that hold anything.

What trainers keep besides is named, and not counted.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.streams import Front
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted

PARAMETERS = "parameters beside gradients"
OPTIMIZER = "state of an optimizer"
RANDOM = "state of a random generator"
ARGUMENTS = "arguments"
SHARED = "the same values under another name"

_GRADIENTS = {"grad", "grads", "gradient", "gradients"}
_MODELS = {
    *("model", "module", "state_dict", "model_state_dict", "model_state", "net", "network"),
    *("params", "parameters", "param", "weights", "weight", "data", "value"),
}
_OPTIMIZER = re.compile(
    r"opt(im(izer)?)?_state|optim(izer)?s?(_.*)?|lr_schedulers?(_.*)?|schedulers?(_.*)?|scaler"
)
_RANDOM = re.compile(r"(.*_)?rng(_.*)?")
_ARGUMENTS = {"args", "arguments", "hparams", "hyper_parameters", "hyperparameters", "config"}
_SUFFIX = ".grad"

_T = TypeVar("_T")


def kind(key: Any, is_tensor: bool = False) -> str:
    """Say what stands under a key, if it is no gradient.

    Random states are tensors; those of optimizers and arguments hold such, and a tensor that is
    called so is a parameter.
    """
    if not isinstance(key, str):
        return ""
    if _RANDOM.fullmatch(key):
        return RANDOM
    if is_tensor:
        return ""
    if _OPTIMIZER.fullmatch(key):
        return OPTIMIZER
    return ARGUMENTS if key in _ARGUMENTS else ""


def kind_of(path: Iterable[str]) -> str:
    """Say what stands under a path of containers, if it is no gradient.

    >>> kind_of(["optimizer", "vars"]), kind_of(["layers", "0"])
    ('state of an optimizer', '')
    """
    return next(filter(None, map(kind, path)), "")


def gradients_among(
    found: dict[str | None, _T], front: Front
) -> tuple[dict[str | None, _T], dict[str | None, _T]]:
    """Part gradients, which then have the names of parameters, from those if they stand beside."""
    paths = {name: (name or "").split(".") for name in found}
    suffixed = {name for name, parts in paths.items() if len(parts) > 1 and parts[-1] == "grad"}
    kept: dict[str | None, _T] = {}
    left: dict[str | None, _T] = {}
    tops = {parts[0] for parts in paths.values()}
    is_apart = bool(tops & _GRADIENTS) and bool(tops & _MODELS)
    for name, parts in paths.items():
        stem = ".".join(parts[:-1])
        if name in suffixed:
            kept[stem] = found[name]
        elif (
            f"{name}{_SUFFIX}" in suffixed
            or (f"{stem}{_SUFFIX}" in suffixed and parts[-1] in _MODELS)
            or (is_apart and parts[0] in _MODELS)
        ):
            front.uncounted.setdefault(PARAMETERS, []).append(name or "")
            left[name] = found[name]
        else:
            kept[name] = found[name]
    return kept, left


def is_nameless(names: Collection[str | None], more: Collection[str] = ()) -> bool:
    """Say whether a tensor stands alone, and is called no more than a gradient."""
    return len(names) == 1 and all(name in _GRADIENTS or name in more for name in names)


def named_by_file(
    front: Front, tensors: tuple[Tensor, ...], name: str | None
) -> tuple[Tensor, ...]:
    """Give a tensor that stands alone and is called no more than a gradient the file's name."""
    if name is None or not is_nameless([tensor.name for tensor in tensors]):
        return tensors
    front.is_named_by_file = True
    return (replace(tensors[0], name=name),)


def repeated(name: str, label: str) -> GradclipError:
    """Say that two tensors have one name."""
    return GradclipError(
        label,
        f"two tensors are called {quoted(name)}",
        "give them other names: parts of a name are joined with dots",
    )
