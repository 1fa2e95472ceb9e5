"""Results of `apply` as objects of a store: each appears whole, once all of them are there."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradclip_cli.commands.destinations import Outcomes, Way, Write, destination, sent
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.urls import is_url
from gradclip_cli.formats.registry import Format
from gradclip_cli.formats.shards import is_index
from gradclip_cli.rewrite import targets
from gradclip_cli.rewrite.outputs import Output, Plan
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.tensors.dump import Companion, Dump
from gradclip_cli.tensors.names import escape, plural

if TYPE_CHECKING:
    from gradclip_cli.files.uploads import Upload


@dataclass(frozen=True, slots=True)
class Uploads:
    """Where each file of a dump goes, in the dump's order, and what is copied along.

    `labels` are the URLs of all of them, of which the last are those of companions; `named` is the
    folder, if they go into one. None is begun in a dry run.
    """

    labels: tuple[str, ...]
    companions: tuple[Companion, ...] = ()
    named: str = ""
    begun: "tuple[Upload, ...]" = ()

    def said(self) -> Iterator[str]:
        """Say what several objects are not."""
        if len(self.labels) > 1:
            several = plural(len(self.labels), "object")
            yield f"{several}, each of which appears whole: together they are not one change"


def placed(
    dump: Dump,
    operands: Sequence[str],
    way: Way,
    stack: contextlib.ExitStack,
    form: Format | None,
) -> targets.Targets | Uploads | Write | None:
    """Give where the results go, in a store or as `destination` does; refuse what can be."""
    output = way.output
    if isinstance(output, str | os.PathLike) and is_url(os.fspath(output)):
        return _begun(dump, operands, os.fspath(output), way, stack, form)
    return destination(dump, operands, way, stack, form)


def _begun(
    dump: Dump,
    operands: Sequence[str],
    output: str,
    way: Way,
    stack: contextlib.ExitStack,
    form: Format | None,
) -> Uploads:
    from gradclip_cli.files.uploads import check_free, upload  # no run that stays here waits for it

    found = _places(dump, operands, output, form)
    for label in found.labels:
        _check_unlike(label, way.read)
    if way.dry_run:
        for label in found.labels:
            check_free(label, way.force)
        return found
    begun = [stack.enter_context(upload(label, way.force)) for label in found.labels]
    return Uploads(found.labels, found.companions, found.named, (*begun,))


def _places(dump: Dump, operands: Sequence[str], output: str, form: Format | None) -> Uploads:
    into_folder = form is None and (
        output.endswith("/")
        or len(operands) > 1
        or any(tree.is_folder(one) or is_index(one) for one in operands)
        or tree.is_folder(output)
    )
    if form is None:
        targets.check_ending(output, dump.files, into_folder)
    if not into_folder:
        return Uploads((output,))
    if not all(file.relative for file in dump.files):
        raise GradclipError(
            output, "standard input has no file name to use in a folder", "name a file with -o"
        )
    relatives = [*targets.relatives(dump), *(one.relative for one in dump.companions)]
    sources = [file.source.label for file in dump.files] + [one.path for one in dump.companions]
    places: dict[str, str] = {}
    for relative, source in zip(relatives, sources, strict=True):
        label = f"{output.rstrip('/')}/{relative.replace(os.sep, '/')}"
        if label in places:
            raise GradclipError(
                label,
                f"both {escape(places[label])} and {escape(source)} would be written here",
                "clip them in two runs, into two folders",
            )
        places[label] = source
    return Uploads((*places,), dump.companions, output)


def _check_unlike(label: str, inputs: Sequence[Dump]) -> None:
    """Refuse an output that is an input itself."""
    for dump in inputs:
        paths = (*(one.path for one in dump.companions), *dump.parts)
        if label in paths or any(file.source.identity == (label,) for file in dump.files):
            raise GradclipError(
                label, "the output is the input itself", "name another: -o s3://BUCKET/KEY"
            )


def all_sent(
    outputs: Sequence[Output], plan: Plan, crew: Crew, target: Uploads, indexes: Sequence[bytes]
) -> Outcomes:
    """Send all results, of which none appears; gives what came of each tensor."""
    found: dict[int, Outcome] = {}
    for output, one in zip(outputs, target.begun, strict=False):
        outcomes, last = sent(output, plan, crew, one.write)
        found |= outcomes
        one.write(last)
        one.finish()
    for data, one in zip(indexes, target.begun[len(outputs) :], strict=True):
        one.write(data)
        one.finish()
    return found


def appear(target: Uploads) -> None:
    """Let all objects appear; raises `GradclipError` where one cannot, and says which are there."""
    for number, one in enumerate(target.begun):
        try:
            one.commit()
        except GradclipError as error:
            if not number:
                raise
            raise GradclipError(
                error.subject,
                error.problem,
                error.hint,
                (f"of {len(target.begun):,} objects {number:,} have appeared before",),
            ) from error
