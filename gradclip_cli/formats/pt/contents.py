"""What a file of PyTorch holds: values by dotted names, and which of them are gradients."""

from collections.abc import Iterator
from typing import Any

from gradclip_cli.files.streams import Front
from gradclip_cli.formats.counted import (
    OPTIMIZER,
    SHARED,
    gradients_among,
    is_nameless,
    kind,
    repeated,
)
from gradclip_cli.formats.pt.allowed import Storage, View
from gradclip_cli.formats.pt.opcodes import PickleError
from gradclip_cli.frozen import frozen

_ONES = {"value", "high_precision"}  # names of the one tensor in files of tools that dump many
_DEEPEST = 200  # parts of a name
_REPEATED = 1_000_000  # values in containers that stand in several places

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
            raise repeated(called, label)
        else:
            found[called] = value
    if others:
        front.besides.append(f"{others:,} values that are no tensors")
    gradients, parameters = gradients_among(found, front)
    if name is not None and is_nameless(gradients, _ONES):
        front.is_named_by_file = True
        gradients = {name: next(iter(gradients.values()))}
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
            (
                (*path, _word(key)),
                part,
                what or (OPTIMIZER if is_state else kind(key, isinstance(part, View))),
            )
            for key, part in pairs
        ][::-1]


_FLATTEN = "save plain tensors: torch.save({name: tensor, ...}, path)"


def _word(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)


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
