"""The modules of a model as a tree that can be opened: each with its part of the norm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """A module, or a tensor: the rows in it, whose names go on behind `depth` parts."""

    name: str
    rows: Sequence[Row]
    depth: int

    @property
    def inside(self) -> list["Branch"]:
        """Give the modules and tensors in it, by the next part of their names."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            parts = (row.name or "").split(".", self.depth + 1)
            if len(parts) > self.depth:
                found.setdefault(parts[self.depth], []).append(row)
        return [Branch(name, rows, self.depth + 1) for name, rows in found.items()]

    @property
    def size(self) -> float:
        """About its share, by which it is sorted."""
        return sum(row.share or 0.0 for row in self.rows)


def draw(found: Report, _limits: Sequence[Limit]) -> Picture | None:
    """Draw the tree of the tensors that count, the largest first."""
    rows = [row for row in found.tensors if row.measured and row.name]
    if len(rows) < 2 or not any(row.share for row in rows):
        return None
    root = Branch("", rows, 0)
    if len(root.inside) == len(rows):
        return None  # the names have no parts
    share = _shares(found)
    room = [_MOST]
    inside = _inside(root.inside, share, room)
    left = " What is small is only counted." if room[0] <= 0 else ""
    return Picture(
        "modules",
        "By module",
        f"Each module's share, the largest first.{left}",
        element("div", inside, class_="tree"),
    )


def _shares(found: Report) -> Callable[[Branch], float | None]:
    """Give what gives a branch's share, as `inspect --group-by` has it."""

    def share(branch: Branch) -> float | None:
        if len(branch.rows) == 1:
            return branch.rows[0].share
        moments = merge(row.moments for row in branch.rows if row.moments is not None)
        return share_of(moments.norm, found.moments, found.global_norm)

    return share


def _inside(
    branches: Sequence[Branch], share: Callable[[Branch], float | None], room: list[int]
) -> Markup:
    """Write what is in a module, as far as there is room; what is left is counted."""
    parts = sorted(branches, key=lambda one: (-one.size, natural(one.name)))
    written = []
    for place, one in enumerate(parts):
        if room[0] <= 0 or place == _CHILDREN:
            rest = sum(len(other.rows) for other in parts[place:])
            written.append(element("p", f"… {plural(rest, 'smaller tensor')}", class_="leaf"))
            break
        room[0] -= 1
        one, inside = _chained(one)
        size = share(one) or 0.0
        said = _said(one.name, size, one, bool(inside))
        if inside:
            opened = {"open": ""} if size > 0.5 else {}
            written.append(
                element("details", element("summary", said), _inside(inside, share, room), **opened)
            )
        else:
            written.append(element("p", said, class_="leaf"))
    return Markup().join(written)


def _chained(branch: Branch) -> tuple[Branch, list[Branch]]:
    """Take a module that holds but one together with it; give what is in that."""
    inside = branch.inside
    while len(inside) == 1:
        (inner,) = inside
        branch = Branch(f"{branch.name}.{inner.name}", inner.rows, inner.depth)
        inside = inner.inside
    return branch, inside


def _said(name: str, size: float, branch: Branch, is_module: bool) -> Markup:
    drawn = element(
        "svg",
        element("rect", width=part(size), height=8),
        class_="bar",
        width=100,
        height=8,
        aria_hidden="true",
    )
    many = f" · {plural(len(branch.rows), 'tensor')}" if is_module else ""
    words = element("span", shortened(escape(name), _NAME), class_="name")
    said = percent(size, size > 0)
    if len(branch.rows) == 1:
        said = part_of(branch.rows[0].part)
    return words + drawn + element("span", f"{said}{many}", class_="size")
