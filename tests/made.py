"""What of the pages is made from the code: tables of quarters and columns, and the recipes.

`python -m tests.made` writes it anew.
"""

import ast
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from gradclip_cli.hypotheses.account import Hypothesis
from gradclip_cli.hypotheses.table import ALTERATIONS, HYPOTHESES
from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.results import (
    comparison_columns,
    explanation,
    figures,
    ranging,
    report_columns,
    suggestion,
    trend,
)
from gradclip_cli.results.columns import Column
from tests.floors import FLOORS, PATHS
from tests.pages import PAGES, TOP

_PARTS = re.compile(r"(<!-- ([\w ]+): made by .*? -->\n)(.*?)(<!-- end -->)", re.DOTALL)

RECIPES = {
    "To add a format": (
        "test_toy_format",
        "A `Format` says how its files begin, and where their tensors lie. `read` is also called "
        "for a file that has no more than the suffix, and raises `GradclipError(source.label, "
        "problem, hint)` where it is none of its kind or its header is cut short; whether the "
        "values are all there is looked at for it. A clipped copy has the same bytes with ranges "
        "rewritten, unless `copied` lays it out otherwise; with `laid_out` other formats are "
        "written as it. A format that is read from `anywhere`, as archives are, looks at sizes "
        "itself and gets a stream as a file. `sample` files for the contract stand in "
        "`tests/contracts/test_formats.py`.",
    ),
    "To add a rule": (
        "test_toy_rule",
        "A rule's file holds its equation, the options that choose it, its words. It imports "
        "NumPy inside functions alone. `apply`, the help, the clashes of options, the reports and "
        "Python's keywords follow from it. Norms are of the type that the user asks for; a rule "
        "for one type alone says so in `apart = {'norm_type': hint}`. `rules/rule.py` lists all "
        "that a rule can say. An example for the contract stands in "
        "`tests/contracts/test_rules.py`, a sample in `tests/rules/test_clip_rules.py`, a word in "
        "`docs/rules.md`, and the class in `gradclip_cli/__init__.py` if it is to be imported "
        "from there.",
    ),
    "To add a statistic": (
        "test_toy_statistic",
        "It is measured in each block, and its measurements merge by a law: a function from those "
        "of the parts to that of the whole. NumPy is imported inside the function; values may be "
        "NaN or infinite. Every format, JSON, the documentation, the cache of a run and recorded "
        "reports have it then, and a terminal's table where it has room. What a cache has not got "
        "of it is measured again. It is unknown of a tensor without values; `--sort` does not "
        "know it.",
    ),
    "To add an output format": (
        "test_toy_output",
        "A renderer is given a result's rows and only serialises them: `begin`, each `row` (whose "
        "values go with `sheet.names`), and `end`, where `result.whole()` has those of all rows "
        "together and `result.summary()` what is true of them. `--format`, and the help of all "
        "commands that have it, know it by its line; `--report FILE` takes what `--format` says.",
    ),
    "To add an option": (
        "test_toy_option",
        "An option is plain data; its help, parser, messages and completion are made of it. A "
        "command lists the groups of options that it takes. The function in `commands/` of each "
        "has a parameter of its name, with its default, and a word in its docstring; a page of "
        "`docs/` names it. What chooses tensors goes into `Selection` in `tensors/selection.py` "
        "and into the key of `series/cache.py`, or a cache would answer for another selection.",
    ),
}


def made(page: Path) -> str:
    """Give a page as it should be."""
    parts = {
        "quarters": quarters(),
        "recipes": recipes(),
        "columns of inspect": columns(
            (*report_columns.COLUMNS, *report_columns.further([one.name for one in STATISTICS]))
        ),
        "columns of range": columns(ranging.COLUMNS),
        "columns of params": columns(report_columns.WEIGHED),
        "columns of apply": columns(figures.CLIPPED),
        "columns of diff": columns(comparison_columns.COLUMNS),
        "columns of trend": columns(trend.COLUMNS),
        "columns of suggest": columns(suggestion.COLUMNS),
        "columns of explain": columns(explanation.COLUMNS),
        "hypotheses": hypotheses(),
    }
    return _PARTS.sub(
        lambda found: f"{found[1]}\n{parts[found[2]]}\n{found[4]}", page.read_text("utf-8")
    )


def columns(table: Sequence[Column]) -> str:
    """Give the table of what columns mean."""
    rows = [f"| `{column.name}` | {column.doc} |" for column in table if column.name]
    return "".join(f"{row}\n" for row in ["| column | meaning |", "|---|---|", *rows])


def hypotheses() -> str:
    """Give the table of what is tried to explain a logged number, each with its own sentence."""
    rows = ["| hypothesis | what may have been done | met in |", "|---|---|---|"]
    for one in (*HYPOTHESES, *ALTERATIONS):
        does = one.accounts if isinstance(one, Hypothesis) else one.changes
        said = (does.__doc__ or "").splitlines()[0]
        where = one.source.removeprefix("https://github.com/")
        rows.append(f"| `{one.name}` | {said} | [{where}]({one.source}) |")
    return "".join(f"{row}\n" for row in rows)


def quarters() -> str:
    """Give the table of floors, each with its own sentence."""
    rows = ["| quarter | what lives there |", "|---|---|"]
    for floor in FLOORS:
        path = PATHS[floor]
        said = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        name = f"`{floor}/`" if path.stem == "__init__" and floor else f"`{floor or '__init__'}.py`"
        rows.append(f"| {name} | {said.splitlines()[0]} |")
    return "".join(f"{row}\n" for row in rows)


def recipes() -> str:
    """Give each recipe: what is to be known, and the toy that does it."""
    return "\n".join(
        f"## {title}\n\n{said}\n\n```python\n{code(module)}\n```\n"
        for title, (module, said) in RECIPES.items()
    )


def code(module: str) -> str:
    """Give the part of a toy's module that would stand in the package, and what it imports."""
    text = (TOP / "tests" / "contracts" / f"{module}.py").read_text("utf-8")
    recipe = text.split("# The recipe: ")[1].split("# End of the recipe.")[0].strip()
    first, _, rest = recipe.partition("\n")
    nodes = [*ast.walk(ast.parse(rest))]
    used: set[object] = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.value for node in nodes if isinstance(node, ast.Constant)}
    body = ast.parse(text).body
    for_types = [inner for node in body if isinstance(node, ast.If) for inner in node.body]
    imports = _imports(body, used | ({"TYPE_CHECKING"} if for_types else set()))
    if for_types:
        imports += ["", "if TYPE_CHECKING:", *(f"    {line}" for line in _imports(for_types, used))]
    return "\n".join([f"# {first[:1].upper()}{first[1:]}", "", *imports, rest.rstrip()])


def _imports(body: Sequence[ast.stmt], used: Collection[object]) -> list[str]:
    return [
        f"from {node.module} import {', '.join(names)}"
        for node in body
        if isinstance(node, ast.ImportFrom)
        if (names := [alias.name for alias in node.names if alias.name in used])
    ]


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(made(page), "utf-8")
