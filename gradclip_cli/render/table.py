"""The table for a person at a terminal: each kind of result has a page of its own."""

from typing import BinaryIO

from gradclip_cli.registry import load
from gradclip_cli.render.page import Page
from gradclip_cli.render.registry import PAGES
from gradclip_cli.results.columns import Sheet


def table(sheet: Sheet, stream: BinaryIO | None, everything: bool) -> Page:
    """Give the page of a kind of result."""
    page: Page = load(PAGES[sheet.name])(sheet, stream, everything)
    return page
