"""What the pages for a person have in common: a screen to fit."""

from typing import BinaryIO

from gradclip_cli.render import screen
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import Sheet


class Page(Renderer):
    """A renderer that writes for a screen: the terminal behind the stream, or 80 columns."""

    def __init__(self, sheet: Sheet, stream: BinaryIO | None, everything: bool) -> None:
        super().__init__(sheet, stream, everything)
        self.screen = screen.Screen() if stream is None else screen.of(stream, everything)
