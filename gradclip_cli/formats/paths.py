"""What the path of a file says: of which rank it is, of which step, and of which tensor.

A number counts ranks or steps where it stands beside a word for one. What is said of neither is the
name; tools that write a file for each tensor spell it in ways of their own.
"""

import functools
import itertools
import math
import os
import re
from collections.abc import Sequence

from gradclip_cli.formats.registry import ending_of
from gradclip_cli.tensors.names import natural

_MOST_RANKS = 1 << 16
_COUNTS = "(?:global[_-]?)?step|it(?:er(?:ation)?)?|checkpoint|ckpt|update|batch"
_WORD = f"(?:{_COUNTS}|epoch)s?"
STEP = re.compile(
    rf"(?<![a-z]){_WORD}[^0-9a-z\n/]{{0,2}}([0-9]+)"
    rf"|(?<![a-z0-9.])([0-9]+)[-_ ]?{_WORD}(?![a-z])",
    re.IGNORECASE,
)
_COUNTED = re.compile(rf"(?<![a-z])(?:{_COUNTS})s?[^0-9a-z\n/]{{0,2}}$", re.IGNORECASE)

# Of two numbers behind a rank of a model the second is that of a stage; `ddp4.0` is rank 0 of four.
_KIND = "(?:zero|global|local|world|data|model|tensor|pipeline|expert|fsdp|[a-z]p)[_-]"
_RANK = re.compile(
    rf"(?<![a-z0-9])(?:(?:{_KIND})*?mp_rank[_-]?(?P<model>[0-9]+(?:_[0-9]+)?)"
    rf"|(?:{_KIND})*(?:rank|shard|worker|device|gpu|cuda|proc)s?[_=: -]?(?P<one>[0-9]+)"
    r"|(?:tp|pp|dp)[_=-]?(?P<group>[0-9]+)"
    r"|(?:ddp|gp)[0-9]+\.(?P<of>[0-9]+)"
    r"|(?<=__)(?P<file>[0-9]+_[0-9]+)(?=[./]|$))(?![a-z0-9])",
    re.IGNORECASE,
)
_RANKED = ("rank", "shard", "worker", "device", "gp", "cuda", "proc", "tp", "pp", "dp", "__")
_BETWEEN = "._-= "

SAMPLES = "samples of gradients, beside these"
OTHERS = "no gradients of parameters, beside such"

# How a tool calls the file of one tensor: the parameter whose gradient it holds; else what it is.
_SPELLINGS = (
    (r"(?:[^/]*___)?name=grad__param__(?P<name>[^/]+?)(?:___[^/]*)?", ""),
    (r"(?:[^/]*___)?name=(?P<name>[^/]+?)(?:___[^/]*)?", OTHERS),
    (r"Module\.(?P<name>[^/]+)\.\w+\.parameters_grad\.[0-9]+(?P<last>\.[^/]+)", ""),
    (r"[A-Z]\w*\.[^/]+\.(?:forward|backward|parameters)\.[0-9]+(?:\.[^/]+)?", OTHERS),
    (r"(?P<name>[^/]+_wgrad)_iter_[0-9]+", ""),
    (r"[^/]+_(?:activation|gradient|weight|output|dgrad)_iter_[0-9]+", OTHERS),
    (r"sampled_gradients/(?P<name>[^/]+)_first(?P<count>[0-9]+)", SAMPLES),
)
_SPELLED = ("name=", ".parameters_grad.", "_wgrad_iter_", "sampled_gradients")


@functools.cache
def _spellings() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Give the patterns, which few runs need, of whole paths."""
    return tuple((re.compile(f"(?:.*/)?{one}", re.DOTALL), kind) for one, kind in _SPELLINGS)


Said = tuple[str, str, str]
"""What a path says of its tensor: name, kind and sample.

The name is empty where the path is that itself. A kind says what the tensor is beside the gradients
of parameters, of which it is none; a sample says what there is of the tensor.
"""

NOTHING: Said = ("", "", "")


def is_counted(words: str) -> bool:
    """Say whether words end in one for a step, but for an epoch, so that its number may follow.

    >>> is_counted("run-2_step_"), is_counted("epoch="), is_counted("2024-01-")
    (True, False, False)
    """
    return _COUNTED.search(words) is not None


def number_of(name: str) -> str | None:
    """Give the digits beside a word for a step; None where a name does not read as one.

    >>> number_of("v2-global_step1000"), number_of("model_20_steps"), number_of("layer_1")
    ('1000', '20', None)
    """
    found = STEP.search(name)
    return found and (found[1] or found[2])


def ranks_of(path: str) -> tuple[str, ...]:
    """Give the digits that count ranks in a path.

    >>> ranks_of("mp_rank_00_001/w.npy"), ranks_of("zero_pp_rank_3_mp_rank_01_g"), ranks_of("w_1")
    (('00_001',), ('3', '01'), ())
    >>> ranks_of("dp0_tp1/w.npy"), ranks_of("cuda:3/w.npy"), ranks_of("http2/w.npy")
    (('0', '1'), ('3',), ())
    """
    return tuple(_digits(found) for found in _RANK.finditer(path))


def missing_ranks(paths: Sequence[str]) -> list[str]:
    """Give the ranks of which there is no file, as paths count them: those up to the last.

    >>> missing_ranks(["rank0.pt", "rank1.pt", "rank3.pt"]), missing_ranks(["a.pt", "rank7.pt"])
    (['2'], [])
    """
    found = {tuple(map(int, re.findall(r"[0-9]+", "_".join(ranks_of(path))))) for path in paths}
    if len({*map(len, found)}) != 1 or not min(found):
        return []
    sides = [range(max(column) + 1) for column in zip(*found, strict=True)]
    several = [side for side, column in enumerate(zip(*found, strict=True)) if len({*column}) > 1]
    if not several or math.prod(map(len, sides)) > _MOST_RANKS:
        return []
    others = {tuple(one[side] for side in several) for one in found}
    every = itertools.product(*(sides[side] for side in several))
    return ["_".join(map(str, one)) for one in every if one not in others]


def starred(path: str) -> str:
    """Give a path with a star for each number of a rank: the pattern of all ranks.

    >>> starred("run/rank_00/grads_7.npz"), starred("ddp4.0_gp1.0_step10")
    ('run/rank_*/grads_7.npz', 'ddp4.*_gp1.*_step10')
    """
    return _RANK.sub(lambda found: _without_digits(found, "*"), path)


def by_rank(paths: Sequence[str]) -> list[int]:
    """Give the order of paths by their ranks if they differ in these alone, else as they are.

    A shell gives rank10 before rank2.

    >>> by_rank(["rank0.pt", "rank10.pt", "rank2.pt"]), by_rank(["b.pt", "a.pt"])
    ([0, 2, 1], [0, 1])
    """
    numbers = [*range(len(paths))]
    if len({*map(starred, paths)}) > 1:
        return numbers
    return sorted(numbers, key=lambda at: natural("/".join(ranks_of(paths[at]))))


def token(path: str) -> str:
    """Give what reads as a step in the name of a file, from the first word for one to the last.

    >>> token("a/epoch=0-step=40_w.npy"), token("a/w.npy")
    ('epoch=0-step=40', '')
    """
    name = os.path.basename(path)
    found = [*STEP.finditer(_but_the_tensor(name))]
    return name[found[0].start() : found[-1].end()] if found else ""


def said_of(paths: Sequence[str], relatives: Sequence[str]) -> list[Said]:
    """Say what paths say of tensors that their files do not name, by what tells these apart.

    A relative path is that below the folder that was given.
    """
    are_spelled = _has("\n".join(paths), _SPELLED)
    spelled = [_spelled(path) if are_spelled else None for path in paths]
    if len(paths) == 1:
        return [spelled[0] or NOTHING]
    folders: set[tuple[str, ...]] = set()
    files: set[tuple[str, ...]] = set()
    for one in relatives if _has("\n".join(relatives).lower(), _RANKED) else ():
        folder, name = os.path.split(one)
        if (ranks := ranks_of(folder)) or _RANK.search(name):
            folders.add(ranks)
            files.add(ranks_of(name))
    several = len(folders) > 1, len(files) > 1 and _count_up(files)
    step = _common_step(relatives, any(several))
    if not any(several) and not step:
        return [one or NOTHING for one in spelled]
    return [
        one or (_plain(relative, several, step), "", "")
        for one, relative in zip(spelled, relatives, strict=True)
    ]


def _has(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def _common_step(relatives: Sequence[str], of_ranks: bool) -> str:
    """Give the step that the names of all files have, or of ranks the folders, if it is one."""
    first = token(relatives[0])
    if first and all(first in one and token(one) == first for one in relatives):
        return first
    if not of_ranks:
        return ""
    levels = [[*map(_unranked, os.path.dirname(one).split(os.sep))] for one in relatives]
    steps = [part for part in levels[0] if part and token(part) == part]
    return next((step for step in steps if all(step in parts for parts in levels)), "")


def _digits(found: re.Match[str]) -> str:
    return next(digits for digits in found.groups() if digits)


def _without_digits(found: re.Match[str], new: str) -> str:
    digits = _digits(found)
    whole = found[0]
    return whole[: len(whole) - len(digits)] + new


def _count_up(ranks: set[tuple[str, ...]]) -> bool:
    """Say whether numbers are those of ranks that begin at 0, and not of something else."""
    lengths = {len(some) for some in ranks if some}
    columns = [{some[at] for some in ranks if some} for at in range(min(lengths, default=0))]
    return all({*map(_least, column)} == {*range(len(column))} for column in columns)


def _least(digits: str) -> int:
    return int(digits.split("_")[-1][:18])


def _spelled(path: str) -> Said | None:
    stem = path.removesuffix(ending_of(path)).replace(os.sep, "/")
    for pattern, kind in _spellings():
        if found := pattern.fullmatch(stem):
            parts = found.groupdict()
            count = parts.get("count")
            sample = f"of each tensor the first {count} rows alone" if count else ""
            return (parts.get("name") or "") + (parts.get("last") or ""), kind, sample
    return None


def _but_the_tensor(name: str) -> str:
    """Give the name of a file with blanks in the place of a tensor's, which may read as a step."""
    for pattern, _ in _spellings() if _has(name, _SPELLED) else ():
        found = pattern.fullmatch(name.removesuffix(ending_of(name)))
        if found and "name" in pattern.groupindex:
            begin, end = found.span("name")
            return f"{name[:begin]}{' ' * (end - begin)}{name[end:]}"
    return name


def _plain(relative: str, several: tuple[bool, bool], step: str) -> str:
    """Give the name of a tensor by a path: without its ranks, where there are several, and step."""
    *folders, last = relative.removesuffix(ending_of(relative)).split(os.sep)
    if several[0]:
        folders = [*filter(None, map(_unranked, folders))]
    kept = _unranked(last) if several[1] else last
    if step:
        kept = _cut(kept, step)
        folders = [folder for folder in folders if folder != step]
    return ".".join(filter(None, [*folders, kept])) or _word(last)


def _unranked(part: str) -> str:
    while found := _RANK.search(part):
        part = _cut(part, found[0])
    return part


def _cut(part: str, what: str) -> str:
    """Give a part of a path without something in it, and without what parted the two."""
    before, _, after = part.partition(what)
    if not before.rstrip(_BETWEEN) or not after.lstrip(_BETWEEN):
        return (before + after).strip(_BETWEEN)
    return before + after.lstrip(_BETWEEN)


def _word(last: str) -> str:
    """Give a name to what has none but a rank or a step: what was counted."""
    return re.sub("[^A-Za-z]+", "_", last).strip("_") or last


def shared(paths: Sequence[str]) -> str:
    """Give the pattern of files that are one step: but for ranks, the same name or but a step's.

    >>> shared(["d/rank_0/a_iter_1.pt", "d/rank_1/b_iter_1.pt"])
    'd/rank_*/*_iter_1.pt'
    """
    split = [path.split(os.sep) for path in paths]
    levels = [*zip(*split, strict=False)][:-1]
    common = [parts[0] for parts in itertools.takewhile(lambda level: len({*level}) == 1, levels)]
    rest = [starred(os.sep.join(parts[len(common) :])) for parts in split]
    if len({*rest}) == 1:
        return os.sep.join([*common, rest[0]])
    folder, name = os.path.split(rest[0])
    step, ending = token(name), ending_of(name)
    before, _, after = name.removesuffix(ending).partition(step)
    begin = f"*{before[-1:]}" if before else ""
    end = f"{after[:1]}*" if after else ""
    return os.sep.join([*common, os.path.join(folder, f"{begin}{step}{end}{ending}")])
