"""The functions as Python calls them: what they are given is checked, and errors speak Python."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

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
            return function(*plain, **options)
        except GradclipError as error:
            Spoken(own).put(error)
            raise
        except OSError as refused:
            said = worded(refused)
            Spoken(own).put(said)
            raise said from refused

    called.__signature__ = signature()  # type: ignore[attr-defined] # for help() and editors
    return called
