"""The output formats that there are: a line here, and the file that it names, is all one takes."""

from typing import TYPE_CHECKING, BinaryIO

from gradclip_cli.registry import load

if TYPE_CHECKING:
    from gradclip_cli.render.renderer import Renderer
    from gradclip_cli.results.columns import Sheet

RENDERERS = {
    "table": "gradclip_cli.render.table:table",
    "tsv": "gradclip_cli.render.delimited:Tsv",
    "csv": "gradclip_cli.render.delimited:Csv",
    "json": "gradclip_cli.render.json:Json",
    "jsonl": "gradclip_cli.render.jsonl:JsonLines",
    "md": "gradclip_cli.render.delimited:Markdown",
}
"""By the name that `--format` takes: what makes a renderer of a sheet, a stream, everything."""


PAGES = {
    "report": "gradclip_cli.render.report_page:ReportPage",
    "comparison": "gradclip_cli.render.comparison_page:ComparisonPage",
    "trend": "gradclip_cli.render.trend_page:TrendPage",
    "suggestion": "gradclip_cli.render.suggestion_page:SuggestionPage",
    "explanation": "gradclip_cli.render.explanation_page:ExplanationPage",
    "soundness": "gradclip_cli.render.soundness_page:SoundnessPage",
}
"""By the name of a kind of result: what writes it for a person at a terminal."""

PICTURES = {
    "report": (
        "gradclip_cli.render.html.pictures.shares:draw",
        "gradclip_cli.render.html.pictures.modules:draw",
        "gradclip_cli.render.html.pictures.sizes:draw",
        "gradclip_cli.render.html.pictures.exponents:draw",
    ),
    "trend": (
        "gradclip_cli.render.html.pictures.norms:draw",
        "gradclip_cli.render.html.pictures.layers:draw",
    ),
    "comparison": ("gradclip_cli.render.html.pictures.errors:draw",),
    "suggestion": ("gradclip_cli.render.html.pictures.candidates:draw",),
    "explanation": ("gradclip_cli.render.html.pictures.logged:draw",),
}
"""By the name of a kind of result: what draws the pictures of its page, in their order.

A function is given the result and the limits that were asked about; it gives a `Picture` of
`render.html.parts`, or None where there is nothing to see.
"""

PLOTS = {
    "report": "gradclip_cli.render.plots.report:draw",
    "comparison": "gradclip_cli.render.plots.comparison:draw",
    "trend": "gradclip_cli.render.plots.trend:draw",
    "suggestion": "gradclip_cli.render.plots.suggestion:draw",
    "explanation": "gradclip_cli.render.plots.explanation:draw",
    "soundness": "gradclip_cli.render.plots.soundness:draw",
}
"""By the name of a kind of result: what draws it into Matplotlib axes.

A function is given the axes and the result; it gives the height that suits it, in inches.
"""


def renderer(
    form: str | None, sheet: "Sheet", stream: BinaryIO | None, everything: bool = False
) -> "Renderer":
    """Give what writes a result."""
    made: Renderer = load(RENDERERS[form_for(form, stream)])(sheet, stream, everything)
    return made


def form_for(form: str | None, stream: "BinaryIO | None") -> str:
    """Give the output format: if none is asked for, the table on a terminal, TSV elsewhere."""
    return form or ("table" if stream is not None and stream.isatty() else "tsv")
