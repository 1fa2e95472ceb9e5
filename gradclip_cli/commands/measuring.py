"""What every command that measures a dump does and says."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gradclip_cli.commands.spooling import finish, has_stream
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.formats.paths import missing_ranks
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.statistics import Asked
from gradclip_cli.options import Path
from gradclip_cli.results.phrases import exactly, number, those
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.gradients import holds_only_integers
from gradclip_cli.tensors.names import left_out, plural
from gradclip_cli.tensors.names import listed as names
from gradclip_cli.tensors.selection import Selection, missed

# Bytes that are measured in the time that it takes to start threads, and to see to a tensor.
_WORTH_THREADS = 1 << 20
_WORTH_A_TENSOR = 8 << 10


def listed(paths: Sequence[Path | Sequence[Path]], what: str = "file", how: str = "") -> list[str]:
    """Give paths that are named one by one, or as one list.

    Raises `GradclipError` where there are none; `what` and `how` say what each is to be.
    """
    found: list[str] = []
    for path in paths:
        some = [path] if isinstance(path, str | os.PathLike) else path
        found += [os.fspath(one) for one in some]
    if not found:
        raise GradclipError("", f"no {what} is named", f"name files or folders{how}")
    return tree.begun(found)


def few(size: int, tensors: int) -> bool:
    """Say whether so many bytes of so many tensors are not worth more than one worker.

    Where what is done for a tensor takes longer than what is done for its values, workers would but
    wait for each other's interpreter.
    """
    return size < _WORTH_THREADS + tensors * _WORTH_A_TENSOR


def able(hands: Crew, *dumps: Dump) -> Crew:
    """Give those of a crew who can open all files of dumps: some this process alone can."""
    if hands.is_apart and any(file.source.is_here for dump in dumps for file in dump.files):
        return hands.here
    return hands


def measured(
    dump: Dump,
    chosen: Sequence[int],
    hands: Crew,
    norm_type: float,
    asked: Asked = (),
) -> dict[int, Moments]:
    """Measure the chosen tensors of a dump, reading its streams to their ends."""
    tensors = dump.tensors
    size = sum(tensors[index].size for index in chosen)
    alone = has_stream(dump) or few(size, len(chosen))  # a stream can be read only in order
    moments = measure_tensors(tensors, chosen, hands.alone if alone else hands, norm_type, asked)
    finish(dump)
    return moments


def notes(
    dump: Dump,
    chosen: Sequence[int],
    selection: Selection,
    norm_type: float = 2.0,
    writing: bool = False,
) -> list[str]:
    """Say what a reader of the numbers must not miss."""
    said = []
    if len(dump.files) > 1:
        said.append(f"one gradient from {len(dump.files):,} files")
        missing = missing_ranks([file.relative for file in dump.files])
        if missing:
            said.append(f"no file of rank {names(missing)}: is it missing?")
    if dump.ignored:
        said.append(f"{plural(dump.ignored, 'other file')} ignored")
    said += left_out(dump.links)
    said += brought(dump)
    said += strays(dump)
    said += uncounted(dump)
    said += combined(dump)
    tensors = dump.tensors
    if norm_type != 2:
        said.append(f"norms of type {norm_type:g}")
    if len(chosen) < len(tensors):
        said.append(f"norm of {len(chosen):,} of {len(tensors):,} tensors")
    said += selection.misses([tensor.name for tensor in tensors])
    said += unmatched(dump)
    said += dump.idle
    if writing and any(one.way in ("sum", "mean") for one in dump.combined):
        said.append("sums and means are float64")
    if holds_only_integers(dump):
        said.append("integers taken as gradients" + (", written as float64" if writing else ""))
    said += factors([tensors[index] for index in chosen])
    opaque = sorted({tensor.dtype.name for tensor in tensors if tensor.dtype.kind == "opaque"})
    if opaque:
        said.append(f"not measured, cannot be decoded: {', '.join(opaque)}")
    return said


def of_loss_scale(
    loss_scale: float | None, dump: Dump, moments: Mapping[int, Moments], writing: bool = False
) -> Iterator[str]:
    """Say that values were divided by a loss scale, or that one may still be in them.

    Trainers that compute in float16 multiply the loss by thousands, or small gradients would be 0.
    """
    tensors = dump.tensors
    if loss_scale is not None:
        yield f"divided by the loss scale {exactly(loss_scale)}"
        others = len(tensors) - len(moments)
        if others and writing:
            yield f"{plural(others, 'other tensor')} left as stored, loss scale and all"
        return
    norm = math.hypot(*[part.finite_l2_norm for part in moments.values()])  # of whatever type
    if norm >= _SCALED and (what := _computed_in_float16([tensors[index] for index in moments])):
        yield f"{what} of norm {number(norm)}: is a loss scale still in them? " + _DIVIDES


_SCALED = 1024.0  # a norm of gradients in float16 that is hardly one without a loss scale
_DIVIDES = "--loss-scale S divides by it"
_LOOKED_AT = 8  # tensors, the largest


def _computed_in_float16(tensors: Sequence[Tensor]) -> str:
    """Say of which kind values are that were computed in float16; nothing where others may be."""
    names = {tensor.dtype.name for tensor in tensors}
    if names == {"float16"}:
        return "float16 values"
    if names != {"float32"}:
        return ""
    from gradclip_cli.measure.digits import are_of_float16  # hardly ever needed

    largest = sorted(tensors, key=lambda tensor: -tensor.count)[:_LOOKED_AT]
    return "float32 values with the digits of float16" if any(map(are_of_float16, largest)) else ""


def factors(tensors: Iterable[Tensor]) -> list[str]:
    """Say what the numbers of tensors that hold factors of others do not mean."""
    names = [tensor.name for tensor in tensors if tensor.dtype.kind == "scale"]
    meaning = "scale factors: the values are element × scale, not joined here"
    return [f"{those(names)}: {meaning}"] if names else []


def strays(dump: Dump) -> list[str]:
    """Say what is odd in files that were read all the same, each once."""
    found: dict[str, list[str]] = {}
    for file in dump.files:
        for stray in file.strays:
            found.setdefault(stray, []).append(file.source.label)
    return [f"{names(labels)}: {stray}" for stray, labels in found.items()]


def uncounted(dump: Dump) -> list[str]:
    """Say which tensors and files stand beside the gradient and are none of it."""
    found: dict[str, list[str]] = {}
    for file in dump.files:
        for what, some in file.uncounted:
            found.setdefault(what, []).extend(some)
    said = [
        f"{plural(len(some), 'tensor')} not counted, {what}: {names(some)}"
        for what, some in found.items()
    ]
    files: dict[str, list[str]] = {}
    for what, path in dump.aside:
        files.setdefault(what, []).append(path)
    said += [
        f"{plural(len(paths), 'file')} not counted, {what}: {names(paths)}"
        for what, paths in files.items()
    ]
    return said


def combined(dump: Dump) -> list[str]:
    """Say what was put together from several files, and what these are to each other."""
    found: dict[str, list[str]] = {}
    for one in dump.combined:
        what = _WAYS[one.way].format(len(one.labels))
        if one.each > 1:
            what += f", each in {one.each:,} copies"
        found.setdefault(what, []).append(one.name)
    said = [f"{names(some)}: {what}" for what, some in found.items()]
    aligned = [one for one in dump.combined if one.stored]
    if aligned:
        what = names([one.name for one in aligned])
        said.append(f"{what}: names that are aligned, stored as {names(aligned[0].stored)}")
    other = [one for one in dump.combined if one.differing]
    if other:
        first = other[0]
        what = "no copy of that" if len(other) == 1 else "no copies of those"
        said.append(
            f"{names([one.name for one in other])}: {what} in {names(first.labels[:1])}, as was "
            f"said: {'' if len(other) == 1 else f'{names([first.name])} in '}"
            f"{'; '.join(first.differing[:_SHOWN])}{' …' if first.differing[_SHOWN:] else ''}"
        )
    return said


def unmatched(*dumps: Dump) -> list[str]:
    """Say which patterns of `--combine` match no tensor of any of these dumps."""
    every = [set(dump.unmatched) for dump in dumps]
    asked = [one for one in dumps[0].unmatched if all(one in some for some in every)]
    known = [tensor.name for dump in dumps for tensor in dump.tensors] if asked else []
    return [missed("--combine", glob, known, f"={way}") for glob, way in dict.fromkeys(asked)]


_SHOWN = 3
_WAYS = {
    "pieces": "pieces in {:,} files, put together",
    "copies": "copies in {:,} files, counted once",
    "sum": "sums of what {:,} files hold",
    "mean": "means of what {:,} files hold",
}


def brought(dump: Dump) -> list[str]:
    """Name the packages of others that have read files of a dump."""
    packages = {file.package: file.format for file in dump.files if file.package}
    return [f"{form} read by {package}" for package, form in packages.items()]
