"""What a file of PyTorch holds: values by dotted names, and which of them are gradients."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Front
from gradclip_cli.formats.pt.allowed import Storage, View
from gradclip_cli.formats.pt.opcodes import PickleError
from gradclip_cli.frozen import frozen
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
_OPTIMIZER = re.compile(r"optim(izer)?s?(_.*)?|lr_schedulers?(_.*)?|schedulers?(_.*)?|scaler")
_RANDOM = re.compile(r"(.*_)?rng(_.*)?")
_ARGUMENTS = {"args", "arguments", "hparams", "hyper_parameters", "hyperparameters", "config"}
_SUFFIX = ".grad"
_DEEPEST = 200  # parts of a name
_REPEATED = 1_000_000  # values in containers that stand in several places

_T = TypeVar("_T")
_Views = dict[str | None, View]


@frozen
class Contents:
    """The views that count, by name, and those that do not and have values of their own."""

    counted: _Views
    uncounted: _Views


def contents(root: Any, name: str | None, front: Front, label: str) -> Contents:
    """Give the views by name: dicts and lists are flattened with dots.

    What does not count is put into `front.uncounted`, what is no tensor counted in its `besides`.
    Raises `GradclipError` for two of one name.
    """
    root = _viewed(root)
    if isinstance(root, View):
        front.is_named_by_file = name is not None
        return Contents({name: root}, {})
    found: _Views = {}
    uncounted: _Views = {}
    others = 0
    for path, value, what in _leaves(root):
        called = ".".join(path)
        if not isinstance(value, View):
            others += 1
        elif what:
            front.uncounted.setdefault(what, []).append(called)
            uncounted[called] = value
        elif called in found:
            raise GradclipError(
                label,
                f"two tensors are called {quoted(called)}",
                "give them other names: parts of a name are joined with dots",
            )
        else:
            found[called] = value
    if others:
        front.besides.append(f"{others:,} values that are no tensors")
    gradients, parameters = gradients_among(found, front)
    return Contents(_once(gradients, front), uncounted | parameters)


def _viewed(value: Any) -> Any:
    """Give a storage that stands by itself as the row of its values."""
    if not isinstance(value, Storage):
        return value
    return View(value, value.dtype, value.start, (value.count - value.start,), (1,))


def _leaves(root: Any) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Give what containers hold in the end: its path, itself, and what it is if it does not count.

    A container is looked into wherever it stands, but within itself. Raises `PickleError` for such
    as stand in each other without end.
    """
    seen: set[int] = set()
    around: set[int] = set()  # the containers in which the next value stands
    repeated = 0
    due: list[tuple[tuple[str, ...], Any, str] | int] = [((), root, "")]
    while due:
        one = due.pop()
        if isinstance(one, int):
            around.remove(one)
            continue
        path, value, what = one
        if not isinstance(value, dict | list | tuple):
            yield path, _viewed(value), what
            continue
        if id(value) in around:
            continue
        if len(path) > _DEEPEST:
            raise PickleError(f"its values lie in more than {_DEEPEST} dicts and lists", _FLATTEN)
        if id(value) in seen:
            repeated += 1 + len(value)
            if repeated > _REPEATED:
                raise PickleError("its dicts and lists stand in each other without end", _FLATTEN)
        seen.add(id(value))
        around.add(id(value))
        due.append(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        is_state = isinstance(value, dict) and value.keys() >= {"state", "param_groups"}
        due += [
            ((*path, _word(key)), part, what or (OPTIMIZER if is_state else _kind(key, part)))
            for key, part in pairs
        ][::-1]


_FLATTEN = "save plain tensors: torch.save({name: tensor, ...}, path)"


def _word(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)


def kind_of(path: Iterable[str]) -> str:
    """Say what stands under a path of containers, if it is no gradient."""
    return next(filter(None, [_kind(key, None) for key in path]), "")


def _kind(key: Any, value: Any) -> str:
    """Say what stands under a key, if it is no gradient.

    Random states are tensors; those of optimizers and arguments hold such, and a tensor that is
    called so is a parameter.
    """
    if not isinstance(key, str):
        return ""
    if _RANDOM.fullmatch(key):
        return RANDOM
    if isinstance(value, View):
        return ""
    if _OPTIMIZER.fullmatch(key):
        return OPTIMIZER
    return ARGUMENTS if key in _ARGUMENTS else ""


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


def _once(found: _Views, front: Front) -> _Views:
    """Leave out what is the same view of the same storage as one before."""
    seen: set[View] = set()
    kept: _Views = {}
    for name, view in found.items():
        if view in seen and view.shape.count(0) == 0:
            front.uncounted.setdefault(SHARED, []).append(name or "")
        else:
            seen.add(view)
            kept[name] = view
    return kept
