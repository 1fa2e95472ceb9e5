"""Results as text, as a command would write them into a file."""

from gradclip_cli.render.registry import renderer
from gradclip_cli.render.renderer import pieces
from gradclip_cli.results.columns import Result


def plain(result: Result, form: str) -> str:
    """Write a result in a format."""
    return "".join(pieces(result, renderer(form, result.sheet, None, everything=True)))
