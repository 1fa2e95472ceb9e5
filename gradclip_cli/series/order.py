"""Which operand is which step of a run: its number, and the order that follows from it."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.paths import is_counted, number_of, ranks_of
from gradclip_cli.formats.registry import suffixes
from gradclip_cli.tensors.names import escape, natural
from gradclip_cli.tensors.patterns import Pattern, shown

_NUMBER = re.compile("[0-9]+")
_BEHIND_THE_WORD = re.compile("step[^0-9/]{0,2}([0-9]+)", re.IGNORECASE)
_EPOCH = re.compile("epochs?[^0-9/]{0,2}([0-9]+)", re.IGNORECASE)
_EPOCH_ENDS = re.compile("epochs?[^0-9a-z/]{0,2}$", re.IGNORECASE)
_LONGEST = 18  # digits: what is longer is no count of steps, and int() refuses 4,300


@dataclass(frozen=True, slots=True)
class Operand:
    """A path, and the step that it is: a number, or a name where the path has no number.

    A step that several paths make is known by their pattern, and `paths` are these.
    """

    path: str
    step: int | str
    paths: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """The paths that make it, mostly its own alone."""
        return self.paths or (self.path,)


def ordered(paths: Sequence[str], step_from: str | None = None) -> list[Operand]:
    """Give the paths as steps, in order; no step twice.

    Of paths that differ in one number alone that is the step; in several it is the one behind a
    word for a step, where that tells them apart; else, as of epoch and step, they are named by what
    differs. Of others it is the number behind the word `step`, else the first in what differs, else
    that is the name. `step_from` is a regular expression whose first group, or whole match, is the
    step. Raises `GradclipError` where it is none or does not match, where two paths are one step,
    and where they are ranks.

    >>> [operand.step for operand in ordered(["run3/g-10.npy", "run3/g-9.npy"])]
    [9, 10]
    >>> [operand.step for operand in ordered(["ckpt-5/g.npy", "ckpt-last/g.npy", "ckpt-10/g.npy"])]
    [5, 10, 'ckpt-last']
    """
    steps = _read(paths) if step_from is None else _matched(paths, step_from)
    operands = [Operand(path, step) for path, step in zip(paths, steps, strict=True)]
    _check_different(operands)
    return sorted(operands, key=_place)


def folders(paths: Sequence[str]) -> list[str]:
    """Give the folders that paths are in, but for numbers and what all have in common."""
    found = {_NUMBER.sub("#", os.sep.join(parts[:-1])) for parts in _differing(paths)}
    return sorted(folder or os.curdir for folder in found)


def are_ranks(one: str, other: str) -> bool:
    """Say whether two paths differ in the number of a rank.

    >>> are_ranks("step_9/rank0.npy", "step_9/rank1.npy"), are_ranks("step_9.npy", "step_8.npy")
    (True, False)
    """
    return ranks_of(one) != ranks_of(other)


def _check_different(operands: Sequence[Operand]) -> None:
    seen: dict[int | str, str] = {}
    for operand in operands:
        other = seen.get(operand.step)
        seen[operand.step] = operand.path
        if other is not None:
            raise GradclipError(
                operand.path,
                f"is step {escape(str(operand.step))}, as {escape(other)} is",
                "give one run, each step once; or say with --step-from which number is the step",
            )


def _place(operand: Operand) -> tuple[bool, int, bool, int, object]:
    step = operand.step
    if isinstance(step, int):
        return False, step, False, 0, natural(operand.path)
    epoch = _EPOCH.search(step)  # its steps may begin anew in each
    return True, 0, epoch is None, int(epoch[1][:_LONGEST]) if epoch else 0, natural(step)


def _read(paths: Sequence[str]) -> list[int | str]:
    """Read paths that follow one pattern by the numbers that differ, others each by itself."""
    patterns = [_pattern(path) for path in paths]
    ((usual, count),) = Counter(patterns).most_common(1)
    alike = [path for path, pattern in zip(paths, patterns, strict=True) if pattern == usual]
    _check_ranks(alike)
    varying = _columns(alike)
    columns = [column for _, column in varying]
    counted = [column for words, column in varying if is_counted(words)]
    in_epochs = any(_EPOCH_ENDS.search(words) for words, _ in varying)
    if len(counted) == 1 and len(set(counted[0])) == count and not in_epochs:
        columns = counted  # beside a date, or the like
    numbers = iter(columns[0] if len(columns) == 1 else [None] * count)
    steps: list[int | str] = []
    for pattern, parts in zip(patterns, _differing(paths), strict=True):
        if not columns or pattern != usual:
            # Beside steps that tell their numbers, any other digits are a part of a name.
            steps.append(_number(parts, is_sibling=bool(columns)))
        else:
            number = next(numbers)
            steps.append(os.sep.join(parts) if number is None else number)
    return steps


def _columns(paths: Sequence[str]) -> list[tuple[str, list[int | str]]]:
    """Give the numbers in which paths of one pattern differ, each once, and the words before."""
    words = _NUMBER.split(_bare(paths[0]))
    columns = [
        [_step(digits) for digits in column]
        for column in zip(*(_NUMBER.findall(_bare(path)) for path in paths), strict=False)
    ]
    found: list[tuple[str, list[int | str]]] = []
    for before, column in zip(words, columns, strict=False):
        if len(set(column)) > 1 and all(column != other for _, other in found):
            found.append((before, column))
    return found


def _check_ranks(paths: Sequence[str]) -> None:
    for path in paths:
        if are_ranks(path, paths[0]):
            raise GradclipError(
                path,
                f"is of another rank than {escape(paths[0])}: ranks are no steps",
                "give the files of one rank alone, as with rank0 in place of rank*",
            )


def _number(parts: Sequence[str], is_sibling: bool) -> int | str:
    for part in reversed(parts):
        found = _BEHIND_THE_WORD.search(part)
        if found:
            return _step(found[1])
    digits = [number_of(part) for part in reversed(parts)]
    if not is_sibling:
        digits += [found[0] for part in reversed(parts) if (found := _NUMBER.search(part))]
    return next((_step(some) for some in digits if some), os.sep.join(parts))


def _differing(paths: Sequence[str]) -> list[list[str]]:
    """Give the parts of paths from the first to the last in which they differ."""
    split = [_bare(path).split(os.sep) for path in paths]
    shortest = min(map(len, split)) - 1
    if len(paths) == 1:  # nothing differs: the last part that says when, else the name
        (parts,) = split
        return [next(([part] for part in reversed(parts) if number_of(part)), parts[-1:])]
    start = end = 0
    while start < shortest and len({parts[start] for parts in split}) == 1:
        start += 1
    while end < shortest - start and len({parts[-1 - end] for parts in split}) == 1:
        end += 1
    return [parts[start : len(parts) - end] for parts in split]


def _pattern(path: str) -> str:
    return _NUMBER.sub("0", _bare(path))


def _bare(path: str) -> str:
    """Give a path without the suffix of a dump."""
    whole = path.rstrip(os.sep) or path
    stem, suffix = os.path.splitext(whole)
    return stem if suffix.lower() in (*suffixes(), ".jsonl") else whole


def _step(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST else text


def _matched(paths: Sequence[str], step_from: str) -> list[int | str]:
    pattern = Pattern("--step-from", step_from, r"give a pattern such as 'step-(\d+)'")
    steps = []
    for path in paths:
        step = pattern.found(path)
        if step is None:
            raise GradclipError(
                "--step-from",
                f"{shown(step_from)} does not match {escape(path)}",
                "the pattern is searched for in each path as it was given",
            )
        steps.append(_step(step))
    return steps
