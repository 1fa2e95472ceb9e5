"""What `apply` did, in a few lines for a person at a terminal."""

from collections.abc import Iterator

from rich.text import Text

from gradclip_cli.render.grid import plural
from gradclip_cli.results.report import Clipped, Ruling
from gradclip_cli.rules.decision import Agc, ByValue, Global, Rms

_RULES = {
    "per tensor": "each tensor by its own norm",
    "per group": "each group by its own norm",
    "average": "each tensor by its norm / number of values",
    "rms": "each tensor by its root mean square",
    "value": "each value by itself",
    "agc": "each unit by its parameter's norm",
}


def told(clipped: Clipped, ruling: Ruling | None, tensors: int) -> Iterator[Text]:
    """Give the lines for a dump of so many tensors: the rule, the norms, what was lost."""
    lines = []
    if ruling is not None and not isinstance(ruling.rule, Global):
        axes = getattr(ruling.rule, "axes", None)
        over = "" if axes is None else f", over axes {','.join(map(str, axes))}"
        lines.append(("rule", _RULES[ruling.rule.word] + over))
    lines.append(("norm before", repr(clipped.norm_before)))
    if ruling is not None:
        lines.append(("limit", _limit(ruling)))
    if clipped.coefficient is not None:
        lines.append(("coefficient", repr(clipped.coefficient)))
    some = "yes" if clipped.clipped else "no"
    if clipped.clipped and ruling is not None and not isinstance(ruling.rule, Global):
        some = f"{ruling.changed:,} of {plural(tensors, 'tensor')}"
    lines.append(("clipped", some))
    if clipped.norm_after is None:
        lines.append(("norm after", "nothing was written"))
    else:
        lines.append(("norm after", f"{clipped.norm_after!r}  measured from what was written"))
    if clipped.flushed:
        lines.append(("became zero", plural(clipped.flushed, "value")))
    if clipped.saturated:
        lines.append(("saturated", plural(clipped.saturated, "value")))
    if ruling is not None and ruling.like is not None:
        like = f"as {ruling.like}"
        lines.append((like, "; ".join(ruling.departures) or "as exact but for rounding"))
    widest = max(len(title) for title, _ in lines)
    for title, value in lines:
        yield Text.assemble((title.ljust(widest), "bold"), "  ", value)


def _limit(ruling: Ruling) -> str:
    match ruling.rule:
        case ByValue(low, high):
            return f"{low!r} to {high!r}"
        case Rms(limit) | Agc(limit):
            return repr(limit)
        case _:
            return repr(ruling.rule.clip_norm)
