"""A result as a page: one file that asks the network for nothing, and as a part of a notebook.

The page says in its own policy that it has one style and one script, by their hashes, and nothing
else (Content Security Policy Level 3, W3C). Where a server allows neither, all can still be read.
Jinja2 is known only here; what comes out of files is escaped by it.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

import gradclip_cli
from gradclip_cli.render.html.kinds import limits_of, part
from gradclip_cli.render.html.parts import Part
from gradclip_cli.results.columns import Result
from gradclip_cli.tensors.names import shortened

_TITLE = 120  # characters


def document(results: Sequence[Result], command: str | None = None) -> str:
    """Give a page of one result or several; `command` is the one that made it."""
    style, script = _static("page.css"), _static("page.js")
    shown = _parts(results)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hashed(style)}",
            f"script-src {_hashed(script)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return (
        _templates()
        .get_template("page.html")
        .render(
            shown=shown,
            reads=True,
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            command=command,
            title=shortened(shown[0].says.split("; ")[0], _TITLE),
            version=gradclip_cli.__version__,
        )
    )


def fragment(result: Result) -> str:
    """Give what a notebook shows: the parts of the page, its style, and no script."""
    return (
        _templates()
        .get_template("fragment.html")
        .render(shown=_parts([result]), reads=False, style=Markup(_static("page.css")))
    )


def _parts(results: Sequence[Result]) -> list[Part]:
    limits = [limit for result in results for limit in limits_of(result)]
    return [part(result, limits) for result in results]


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "static"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["data"] = _data
    return made


def _static(name: str) -> str:
    loader = _templates().loader
    assert loader is not None
    text, _, _ = loader.get_source(_templates(), name)
    return text


def _data(value: object) -> Markup:
    """Write data for the script: JSON in which no element can end."""
    written = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(written.replace("<", "\\u003c").replace("&", "\\u0026"))
