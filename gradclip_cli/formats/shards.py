"""Shard indexes: which tensors of which files make a model that is split over several.

The layout is that of Hugging Face (`huggingface_hub/serialization/_torch.py`): a JSON object whose
`weight_map` maps the name of each tensor to a file beside the index, or below it. The index decides
what counts: where a tensor also stands in another file, that is superseded.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.places import leads_out
from gradclip_cli.formats.strict_json import RepeatedKeyError, parsed
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Companion, DumpFile
from gradclip_cli.tensors.names import ends_in, is_unicode, listed, natural, quoted, shortened

INDEX_SUFFIX = ".safetensors.index.json"
UNINDEXED = "in no shard index"
SUPERSEDED = "superseded by another shard"

_PART = re.compile(r"(.*[^0-9])?([0-9]+)-of-([0-9]+)(\.[^.]+)")
_DAMAGED = "the index is damaged: fetch or save it again"


@frozen
class Shard:
    """What an index at a path says of one of its files: the names that it holds.

    `named` are those of all files.
    """

    index: str
    relative: str
    names: frozenset[str]
    named: frozenset[str]

    def failed(self, problem: str, hint: str) -> GradclipError:
        """Say that the file is not what the index says, by the first of its tensors."""
        first = min(self.names, key=natural)
        return GradclipError(
            self.index, f"tensor {quoted(first)}: its file {quoted(self.relative)} {problem}", hint
        )

    def of(self, file: DumpFile) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Give the names of a file's tensors that do not count, by what they are.

        Raises `GradclipError` for a tensor that the index looks for in it in vain.
        """
        held = {tensor.name or "" for tensor in file.tensors}
        if missing := self.names - held:
            raise GradclipError(
                self.index,
                f"{quoted(self.relative)} does not hold "
                f"{listed([shortened(name) for name in sorted(missing, key=natural)])}, "
                "as the index says",
                "is the index of another version? save the model again",
            )
        others = held - self.names
        kinds = {UNINDEXED: others - self.named, SUPERSEDED: others & self.named}
        return tuple(
            (what, tuple(sorted(some, key=natural))) for what, some in kinds.items() if some
        )


def shards_of(path: str) -> dict[str, Shard]:
    """Give what the index at a path says of each of its files, by their paths beside it.

    Raises `GradclipError` for what is no index, and for a file that would lie elsewhere.
    """
    names: dict[str, set[str]] = {}
    weights = _weight_map(path)
    for name, place in weights.items():
        names.setdefault(_inside(path, name, place), set()).add(name)
    everything = frozenset(weights)
    return {
        relative: Shard(path, relative, frozenset(some), everything)
        for relative, some in names.items()
    }


def _weight_map(path: str) -> Mapping[str, object]:
    raw = tree.whole(path)
    if raw.startswith(b"version https://git-lfs"):
        raise GradclipError(
            path,
            "not a shard index but a Git LFS pointer, not the file itself",
            "run: git lfs pull",
        )
    try:
        index = parsed(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise GradclipError(
            path, f"the shard index is not UTF-8 (byte {error.start})", _DAMAGED
        ) from error
    except RepeatedKeyError as error:
        raise GradclipError(
            path,
            f"the shard index says {error} twice",
            "readers differ in which of the two they take: save the model again",
        ) from error
    except (ValueError, RecursionError) as error:
        what = "empty: 0 bytes" if not raw else "the shard index is not JSON"
        raise GradclipError(path, what, _DAMAGED) from error
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict):
        raise GradclipError(
            path, "the shard index has no weight_map, an object of names and their files", _DAMAGED
        )
    if not weights:
        raise GradclipError(path, "the shard index names no tensors", _DAMAGED)
    return weights


def _inside(index: str, name: str, place: object) -> str:
    """Give a file that stays in the folder of the index, as its path there."""
    said = f"tensor {quoted(name)}: its file"
    if not isinstance(place, str):
        raise GradclipError(index, f"{said} is {shortened(repr(place))}, and no name", _DAMAGED)
    called = f"{said} {quoted(shortened(place, 200))}"
    if not place or "\0" in place or "://" in place or not is_unicode(place):
        raise GradclipError(
            index, f"{called} is no name of a file", "a shard lies beside its index"
        )
    if leads_out(place):
        raise GradclipError(
            index, f"{called} would lead out of the folder", "a shard lies beside its index"
        )
    relative = os.path.normpath(place)
    if relative == os.path.basename(index):
        raise GradclipError(index, f"{called} is the index itself", _DAMAGED)
    return relative


def grown(path: str, growth: Mapping[str, int]) -> bytes | None:
    """Give an index whose files grow by so many bytes; None where it says nothing of their size.

    Files are given by their real paths.
    """
    folder = os.path.dirname(path)
    more = sum(
        growth.get(tree.real(os.path.join(folder, relative)), 0) for relative in shards_of(path)
    )
    index: Any = parsed(tree.whole(path).decode("utf-8"))
    metadata = index.get("metadata")
    if not more or not isinstance(metadata, dict) or type(metadata.get("total_size")) is not int:
        return None
    metadata["total_size"] += more
    return json.dumps(index, ensure_ascii=False, indent=2).encode() + b"\n"


def companion(path: str, relative: str) -> Companion:
    """Give an index as it is now; what is wrong with it is said where it is read."""
    with suppress(GradclipError, OSError):
        return Companion(path, relative, tree.source_of(path, path))
    return Companion(path, relative)


def is_index(path: str) -> bool:
    """Say whether a path is named as a shard index is."""
    return ends_in(path, INDEX_SUFFIX)


def is_split(name: str) -> bool:
    """Say whether a file is of the kind that indexes are of."""
    return ends_in(name, ".safetensors")


def incomplete(names: Iterable[str]) -> dict[str, GradclipError]:
    """Give what is wrong with files whose names say that they are parts of more than there are.

    Such a name ends in `00001-of-00002`, before the suffix.
    """
    groups: dict[tuple[str, int, str], dict[int, str]] = {}
    for name in names:
        if found := _PART.fullmatch(name):
            stem, number, count, suffix = found.groups()
            groups.setdefault((stem or "", int(count), suffix), {})[int(number)] = name
    wrong: dict[str, GradclipError] = {}
    for (_, count, _), parts in groups.items():
        if len(parts) < count and set(parts) <= set(range(1, count + 1)):
            first = next(number for number in range(1, count + 1) if number not in parts)
            problem = f"{len(parts):,} of {count:,} parts are there, and number {first:,} is not"
            hint = "fetch the others; to measure these alone, name the files one by one"
            wrong |= {name: GradclipError(name, problem, hint) for name in parts.values()}
    return wrong
