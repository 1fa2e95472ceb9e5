"""The functions as Python calls them: their errors name parameters, not what is typed."""

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

from gradclip_cli.errors import GradclipError, RefusedError

_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
_OUTPUT = re.compile(r"(?<![\w-])-o\b")
_COMMAND = re.compile(r"\bgradclip (apply|check|diff|inspect|trend)\b")
_TYPED = re.compile(r"[|>]")  # in what is to be typed at a prompt


def public(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function with the same parameters, whose errors speak of these."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except GradclipError as error:
            error.subject, error.problem, error.hint = map(
                _in_python, (error.subject, error.problem, error.hint)
            )
            error.details = tuple(map(_in_python, error.details))
            if type(error) in (GradclipError, RefusedError):  # as they are pickled
                error.args = (error.subject, error.problem, error.hint, error.details)
            raise

    # What rules add to the parameters is known only by their table.
    whole = getattr(sys.modules[function.__module__], "signature", None)
    if whole is not None:
        called.__signature__ = whole()  # type: ignore[attr-defined] # for help() and editors
    return called


def _in_python(text: str) -> str:
    """Write parameters in place of options.

    >>> _in_python("--clip-norm"), _in_python("name a file with -o, or add --in-place")
    ('clip_norm', 'name a file with output, or add in_place')
    """
    text = _FLAG.sub(lambda flag: flag[1].replace("-", "_"), text)
    text = _OUTPUT.sub("output", text)
    return text if _TYPED.search(text) else _COMMAND.sub(r"gradclip_cli.\1", text)
