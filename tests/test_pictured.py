"""The pictures of README are of what is printed and drawn now."""

import html
import re

from PIL import Image

from tests import pictured


def texts_of(drawn: str) -> list[str]:
    found = re.findall(r"<text[^>]*>(.*?)</text>", drawn, re.DOTALL)
    return [html.unescape(text).replace("\xa0", " ").strip() for text in found]


def test_the_picture_of_the_terminal_says_what_the_command_says() -> None:
    kept = texts_of(pictured.TERMINAL.read_text("utf-8"))
    assert "rnn.weight_hh_l0 leaves its range at step 16 and does not come back: from" in kept
    assert kept == texts_of(pictured.drawn(pictured.terminal())), "python -m tests.pictured"


def test_the_picture_of_the_page_is_of_the_page_as_it_is() -> None:
    with Image.open(pictured.PAGE) as image:
        assert image.info[pictured.MADE_OF] == pictured.digest(pictured.page()), (
            "python -m tests.pictured"
        )
