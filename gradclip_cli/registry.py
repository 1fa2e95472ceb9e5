"""Dotted names in place of imports: what is listed here, or in a quarter's table, comes when asked.

A result lies below its renderers and must not import them; Rich can still be shown one (`rich`).
"""

import importlib
import sys
from typing import Any


def load(name: str) -> Any:
    """Import what a dotted name, `package.module:attribute`, stands for.

    >>> load("math:inf")
    inf
    """
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def text(result: Any) -> str:
    """Give what a terminal shows of a result, without colours."""
    shown: str = load("gradclip_cli.render.shown:text")(result)
    return shown


def html(result: Any) -> str:
    """Give what a notebook shows of a result: the parts of its page."""
    shown: str = load("gradclip_cli.render.html.document:fragment")(result)
    return shown


def data(result: Any) -> dict[str, Any]:
    """Give what JSON has of a result."""
    told: dict[str, Any] = load("gradclip_cli.render.json:data")(result)
    return told


def rich(result: Any) -> Any:
    """Give what Rich shows of a result: its page."""
    return load("gradclip_cli.render.shown:Shown")(result)


def frame(result: Any) -> Any:
    """Give a result's rows as a DataFrame of pandas."""
    return load("gradclip_cli.render.frame:frame")(result)


def plot(result: Any, axes: Any = None) -> Any:
    """Draw a result into Matplotlib axes, or new ones, and give these."""
    return load("gradclip_cli.render.plots.axes:plotted")(result, axes)


def cell_bar() -> Any:
    """Give what shows how far a pass is in the cell of a notebook; None outside of one."""
    if "ipykernel" not in sys.modules:
        return None
    return load("gradclip_cli.render.notebook:bar")()
