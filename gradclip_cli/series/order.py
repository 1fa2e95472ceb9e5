"""Which operand is which step of a run: its number, and the order that follows from it."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.registry import suffixes
from gradclip_cli.tensors.names import natural
from gradclip_cli.tensors.patterns import compiled

_NUMBER = re.compile("[0-9]+")
_BEHIND_THE_WORD = re.compile("step[^0-9/]{0,2}([0-9]+)", re.IGNORECASE)
_LONGEST = 18  # digits: what is longer is no count of steps, and int() refuses 4,300


@dataclass(frozen=True, slots=True)
class Operand:
    """A path, and the step that it is: a number, or a name where the path has no number."""

    path: str
    step: int | str


def ordered(paths: Sequence[str], step_from: str | None = None) -> list[Operand]:
    """Give the paths as steps, in order.

    The step is the number in which the paths differ; else the one behind the word `step`, else the
    first in the name. `step_from` is a regular expression whose first group, or whole match, is the
    step. Raises `GradclipError` where it is none, or does not match.

    >>> [operand.step for operand in ordered(["run3/g-10.npy", "run3/g-9.npy"])]
    [9, 10]
    """
    steps = _numbers(paths) if step_from is None else _matched(paths, step_from)
    operands = [Operand(path, step) for path, step in zip(paths, steps, strict=True)]
    return sorted(operands, key=_place)


def _place(operand: Operand) -> tuple[bool, int, object, object]:
    step = operand.step
    if isinstance(step, int):
        return False, step, (), natural(operand.path)
    return True, 0, natural(step), natural(operand.path)


def _numbers(paths: Sequence[str]) -> list[int | str]:
    """Read the numbers of paths that follow one pattern, or of each by itself."""
    if len(paths) > 1 and len({_NUMBER.sub("0", path) for path in paths}) == 1:
        columns = list(zip(*(_NUMBER.findall(path) for path in paths), strict=True))
        varying = [column for column in columns if len(set(column)) > 1]
        if len(varying) == 1:
            return [_step(digits) for digits in varying[0]]
        if varying:  # such as epoch and step: only together they say when
            return [_stem(path) for path in paths]
    return [_number(path) for path in paths]


def _number(path: str) -> int | str:
    name = _stem(path)
    found = _BEHIND_THE_WORD.search(name)
    if found:
        return _step(found[1])
    digits = _NUMBER.search(name)
    return _step(digits[0]) if digits else name


def _stem(path: str) -> str:
    name = os.path.basename(path.rstrip(os.sep)) or path
    stem, suffix = os.path.splitext(name)
    return stem if suffix in (*suffixes(), ".jsonl") else name


def _step(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST else text


def _matched(paths: Sequence[str], step_from: str) -> list[int | str]:
    step_of = _pattern(step_from)
    steps = []
    for path in paths:
        step = step_of(path)
        if step is None:
            raise GradclipError(
                "--step-from",
                f"{step_from!r} does not match {path}",
                "the pattern is searched for in each path as it was given",
            )
        steps.append(_step(step))
    return steps


def _pattern(step_from: str) -> Callable[[str], str | None]:
    pattern = compiled("--step-from", step_from, r"give a pattern such as 'step-(\d+)'")

    def step(path: str) -> str | None:
        found = pattern.search(path)
        return None if found is None else found[1 if pattern.groups else 0]

    return step
