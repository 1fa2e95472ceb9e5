"""The modules of a model as a tree that can be opened: each with its part of the norm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from gradclip_cli.measure.moments import merge
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.svg import element, part
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import part_of, percent
from gradclip_cli.results.report import Report, Row
from gradclip_cli.results.reporting import share_of
from gradclip_cli.tensors.names import escape, natural, plural, shortened

_MOST = 1500  # branches and leaves
_CHILDREN = 60  # of one branch
_NAME = 100


@dataclass
class Branch:
    """A module: the rows in it, and the modules in it by the next part of their names."""

    rows: list[Row] = field(default_factory=list)
    inside: dict[str, "Branch"] = field(default_factory=dict)


def draw(found: Report, _limits: Sequence[Limit]) -> Picture | None:
    """Draw the tree of the tensors that count, the largest first."""
    rows = [row for row in found.tensors if row.measured and row.name]
    if len(rows) < 2 or not any(row.share for row in rows):
        return None
    root = _grown(rows)
    if len(root.inside) == len(rows):
        return None  # the names have no parts
    share = _shares(found)
    room = [_MOST]
    inside = _inside(root, share, room)
    left = " What is small is only counted." if room[0] <= 0 else ""
    return Picture(
        "modules",
        "By module",
        f"Each module's share, the largest first.{left}",
        element("div", inside, class_="tree"),
    )


def _grown(rows: Sequence[Row]) -> Branch:
    root = Branch()
    for row in rows:
        branch = root
        for name in (row.name or "").split("."):
            branch = branch.inside.setdefault(name, Branch())
            branch.rows.append(row)
    return root


def _shares(found: Report) -> Callable[[Branch], float | None]:
    """Give what gives a branch's share, as `inspect --group-by` has it."""

    def share(branch: Branch) -> float | None:
        if len(branch.rows) == 1:
            return branch.rows[0].share
        moments = merge(row.moments for row in branch.rows if row.moments is not None)
        return share_of(moments.norm, found.moments, found.global_norm)

    return share


def _inside(branch: Branch, share: Callable[[Branch], float | None], room: list[int]) -> Markup:
    """Write what is in a module, as far as there is room; what is left is counted."""
    parts = [(share(one) or 0.0, name, one) for name, one in branch.inside.items()]
    parts.sort(key=lambda one: (-one[0], natural(one[1])))
    written = []
    for place, (size, name, one) in enumerate(parts):
        if room[0] <= 0 or place == _CHILDREN:
            rest = sum(len(other.rows) for _, _, other in parts[place:])
            written.append(element("p", f"… {plural(rest, 'smaller tensor')}", class_="leaf"))
            break
        room[0] -= 1
        name, one = _chained(name, one)
        said = _said(name, size, one)
        if one.inside:
            opened = {"open": ""} if size > 0.5 else {}
            written.append(
                element("details", element("summary", said), _inside(one, share, room), **opened)
            )
        else:
            written.append(element("p", said, class_="leaf"))
    return Markup().join(written)


def _chained(name: str, branch: Branch) -> tuple[str, Branch]:
    """Take a module that holds but one together with it."""
    while len(branch.inside) == 1:
        ((inner, branch),) = branch.inside.items()
        name = f"{name}.{inner}"
    return name, branch


def _said(name: str, size: float, branch: Branch) -> Markup:
    drawn = element(
        "svg",
        element("rect", width=part(size), height=8),
        class_="bar",
        width=100,
        height=8,
        aria_hidden="true",
    )
    many = f" · {plural(len(branch.rows), 'tensor')}" if branch.inside else ""
    words = element("span", shortened(escape(name), _NAME), class_="name")
    said = percent(size, size > 0)
    if len(branch.rows) == 1:
        said = part_of(branch.rows[0].part)
    return words + drawn + element("span", f"{said}{many}", class_="size")
