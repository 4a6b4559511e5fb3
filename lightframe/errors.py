"""The errors that a user can mend: one sentence that names the cause and the way out."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something was asked for that cannot be done; the message says what and how to go on.

    The command line prints it in one line and exits with code 2.
    """


class UnknownNameError(UsageError, KeyError):
    """A name that no registry, module or parser knows."""

    __str__ = ValueError.__str__  # KeyError would print the message's repr


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, or None when nothing comes close.

    >>> nearest("SDG", ["sgd", "adam"])
    'sgd'
    """
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'sgd'?"`, or an empty string when nothing comes close."""
    match = nearest(name, choices)
    return f"; did you mean '{match}'?" if match else ""
