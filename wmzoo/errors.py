"""What a user gets for a wrong input: one sentence that names the place and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WmzooError(Exception):
    """A mistake in an input, told in sentences; the command line prints it and exits with code 2.

    Args:
        problems: one sentence a problem, each with its place and its remedy.
    """

    code = 2

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


class FailedError(WmzooError):
    """A job that failed though its input was right; the exit code is 1."""

    code = 1


MANY = 24
"""Valid names that a message tells before it only counts them."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Suggest valid names for a misspelled one: ``Did you mean "x"? Valid: ...`` (empty if none are valid).

    Args:
        name: what was written.
        valid: the names that would have been understood.
    """
    valid = sorted(word for word in valid if word)
    if not valid:
        return ""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    rest = f" and {len(valid) - MANY} more" if len(valid) > MANY else ""
    return f"{hint}Valid: {', '.join(valid[:MANY])}{rest}."
