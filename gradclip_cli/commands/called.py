"""The functions as Python calls them: what they are given is checked, and errors speak Python.

In a notebook a pass that takes long is seen to move.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gradclip_cli import registry
from gradclip_cli.commands.given import checked
from gradclip_cli.commands.spoken import Spoken
from gradclip_cli.errors import GradclipError, worded


def public(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function with the same parameters, whose errors speak of these.

    What it is given is as `given.checked` has it. What the system refuses is a `GradclipError` too.
    """
    # What rules add to the parameters is known only by their table, which may grow.
    whole = getattr(sys.modules[function.__module__], "signature", None)

    def signature() -> inspect.Signature:
        found: inspect.Signature = inspect.signature(function) if whole is None else whole()
        return found

    @functools.wraps(function)
    def called(*arguments: Any, **given: Any) -> Any:
        own = signature()
        try:
            plain, options = checked(function.__name__, own, arguments, given)
            with _watched(own, options) as bar:
                return function(*plain, **options, **bar)
        except GradclipError as error:
            Spoken(own).put(error)
            raise
        except OSError as refused:
            said = worded(refused)
            Spoken(own).put(said)
            raise said from refused

    called.__signature__ = signature()  # type: ignore[attr-defined] # for help() and editors
    return called


@contextlib.contextmanager
def _watched(own: inspect.Signature, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a bar in the cell of a notebook to what takes one and was given none, not even None."""
    takes = "progress" in own.parameters and "progress" not in options
    bar = registry.cell_bar() if takes else None
    if bar is None:
        yield {}
        return
    try:
        yield {"progress": bar}
    finally:
        bar.end()
