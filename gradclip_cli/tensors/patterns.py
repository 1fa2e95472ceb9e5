"""Regular expressions that a user gives: compiled in one place, and complained of in one line."""

import re

from gradclip_cli.errors import GradclipError


def compiled(option: str, text: str, hint: str) -> re.Pattern[str]:
    """Compile a pattern; raises `GradclipError` about the option where it is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise GradclipError(
            option, f"{text!r} is not a regular expression: {error}", hint
        ) from error


def replacing(option: str, text: str, new: str, hint: str) -> re.Pattern[str]:
    """Compile a pattern whose matches become `new`; raises `GradclipError` where that cannot be."""
    try:
        pattern = re.compile(text)
        pattern.sub(new, "")  # says what is wrong with the new text, whether it is found or not
    except (re.error, IndexError) as error:
        raise GradclipError(
            option, f"{f'{text}={new}'!r} cannot be followed: {error}", hint
        ) from error
    return pattern
