"""What of the pages is made from the code: tables of quarters and columns, and the recipes.

`python -m tests.made` writes it anew.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from gradclip_cli.results import comparison_columns, figures, report_columns, suggestion, trend
from gradclip_cli.results.columns import Column
from tests.floors import FLOORS, PATHS
from tests.pages import PAGES, TOP

_PARTS = re.compile(r"(<!-- ([\w ]+): made by .*? -->\n)(.*?)(<!-- end -->)", re.DOTALL)

RECIPES = {
    "To add a format": (
        "test_toy_format",
        "A `Format` says how its files begin, and where their tensors lie. A clipped copy has the "
        "same bytes with ranges rewritten. `sample` files for the contract stand in "
        "`tests/contracts/test_formats.py`.",
    ),
    "To add a rule": (
        "test_toy_rule",
        "A rule's file holds its equation, the options that choose it, its words. It imports NumPy "
        "inside functions alone. `apply`, the help, the clashes of options, the reports and "
        "Python's keywords follow from it. An example for the contract stands in "
        "`tests/contracts/test_rules.py`.",
    ),
    "To add a statistic": (
        "test_toy_statistic",
        "It is measured in each block, and its measurements merge by a law: a function from those "
        "of the parts to that of the whole. Every format, JSON, the table, the cache of a run and "
        "recorded reports have it then.",
    ),
    "To add an output format": (
        "test_toy_output",
        "A renderer is given a result's rows and only serialises them; `--format`, the help and "
        "`--report` know it by its line.",
    ),
    "To add an option": (
        "test_toy_option",
        "An option is plain data; its help, parser, messages and completion are made of it. A "
        "command lists the groups of options that it takes.",
    ),
}


def made(page: Path) -> str:
    """Give a page as it should be."""
    parts = {
        "quarters": quarters(),
        "recipes": recipes(),
        "columns of inspect": columns(report_columns.COLUMNS),
        "columns of apply": columns(figures.CLIPPED),
        "columns of diff": columns(comparison_columns.COLUMNS),
        "columns of trend": columns(trend.COLUMNS),
        "columns of suggest": columns(suggestion.COLUMNS),
    }
    return _PARTS.sub(
        lambda found: f"{found[1]}\n{parts[found[2]]}\n{found[4]}", page.read_text("utf-8")
    )


def columns(table: Sequence[Column]) -> str:
    """Give the table of what columns mean."""
    rows = [f"| `{column.name}` | {column.doc} |" for column in table if column.name]
    return "".join(f"{row}\n" for row in ["| column | meaning |", "|---|---|", *rows])


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
    used = {node.id for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Name)}
    imports = [
        f"from {node.module} import {', '.join(names)}"
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        if (names := [alias.name for alias in node.names if alias.name in used])
    ]
    return "\n".join([f"# {first[:1].upper()}{first[1:]}", "", *imports, rest.rstrip()])


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(made(page), "utf-8")
