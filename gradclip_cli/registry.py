"""Dotted names in place of imports: what is listed here, or in a quarter's table, comes when asked.

A result lies below its renderers and must not import them; by its name here it can still ask for
the page that shows it (`__rich__`).
"""

import importlib
from typing import Any

PAGES = {
    "report": "gradclip_cli.render.report_page:ReportPage",
    "comparison": "gradclip_cli.render.comparison_page:ComparisonPage",
    "trend": "gradclip_cli.render.trend_page:TrendPage",
    "suggestion": "gradclip_cli.render.suggestion_page:SuggestionPage",
    "soundness": "gradclip_cli.render.soundness_page:SoundnessPage",
}
"""By the name of a kind of result: what writes it for a person at a terminal."""


def load(name: str) -> Any:
    """Import what a dotted name, `package.module:attribute`, stands for.

    >>> load("math:inf")
    inf
    """
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def rich(result: Any) -> Any:
    """Give what Rich shows of a result: its page."""
    return load("gradclip_cli.render.shown:Shown")(result)
