"""What a file of PyTorch holds: values by dotted names, and which of them are gradients."""

import re
from collections.abc import Iterator
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Front
from gradclip_cli.formats.pt.allowed import View
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


def contents(root: Any, name: str | None, front: Front, label: str) -> dict[str | None, View]:
    """Give the views that count, by name: dicts and lists are flattened with dots.

    What does not count is put into `front.uncounted`, what is no tensor counted in its `besides`.
    Raises `GradclipError` for two of one name.
    """
    if isinstance(root, View):
        front.is_named_by_file = name is not None
        return {name: root}
    found: dict[str | None, View] = {}
    others = 0
    for path, value, what in _leaves(root):
        called = ".".join(path)
        if not isinstance(value, View):
            others += 1
        elif what:
            front.uncounted.setdefault(what, []).append(called)
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
    return _once(_gradients(found, front), front)


def _leaves(root: Any) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Give what containers hold in the end: its path, itself, and what it is if it does not count.

    A container is looked into once, wherever it stands, and a deeper one takes no deeper call.
    """
    seen: set[int] = set()
    due: list[tuple[tuple[str, ...], Any, str]] = [((), root, "")]
    while due:
        path, value, what = due.pop()
        if not isinstance(value, dict | list | tuple):
            yield path, value, what
            continue
        if id(value) in seen or len(path) > _DEEPEST:
            continue
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        is_state = isinstance(value, dict) and value.keys() >= {"state", "param_groups"}
        due += [
            ((*path, _word(key)), part, what or (OPTIMIZER if is_state else _kind(key)))
            for key, part in pairs
        ][::-1]


_DEEPEST = 200  # parts of a name


def _word(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)


def _kind(key: Any) -> str:
    """Say what stands under a key, if it is no gradient."""
    if not isinstance(key, str):
        return ""
    if _OPTIMIZER.fullmatch(key):
        return OPTIMIZER
    if _RANDOM.fullmatch(key):
        return RANDOM
    return ARGUMENTS if key in _ARGUMENTS else ""


def _gradients(found: dict[str | None, View], front: Front) -> dict[str | None, View]:
    """Leave parameters out that stand beside their gradients, which then have their names."""
    paths = {name: (name or "").split(".") for name in found}
    suffixed = {name for name, parts in paths.items() if len(parts) > 1 and parts[-1] == "grad"}
    kept: dict[str | None, View] = {}
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
        else:
            kept[name] = found[name]
    return kept


def _once(found: dict[str | None, View], front: Front) -> dict[str | None, View]:
    """Leave out what is the same view of the same storage as one before."""
    seen: set[View] = set()
    kept: dict[str | None, View] = {}
    for name, view in found.items():
        if view in seen and view.shape.count(0) == 0:
            front.uncounted.setdefault(SHARED, []).append(name or "")
        else:
            seen.add(view)
            kept[name] = view
    return kept
