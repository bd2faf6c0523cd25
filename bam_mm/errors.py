"""The one exception for user errors, and how messages list values."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Wrong data, configuration or arguments: something that the user can fix.

    The message names the value, the place and the remedy. The command-line tools print that
    message alone (no traceback) and exit with 1. Everything else is a defect and keeps its
    traceback.
    """

    def __str__(self) -> str:
        # A DataLoader worker sends an exception to the main process as its formatted traceback.
        # The user needs only what follows the last "InputError: " in it.
        return super().__str__().rsplit("errors.InputError: ", maxsplit=1)[-1].strip()


class SharedError(InputError):
    """An error that every process of a run raises at the same place; the first one prints it."""


class UnusedOptionError(InputError):
    """An option that nothing in a config uses; another config may have a use for it."""


def listing(values: Iterable[object], most: int = 5) -> str:
    """Return the first values for a message, such as ``a, b, ... (7)`` with ``most=2``.

    Args:
        values: Values to name.
        most: Number of values to name; if there are more, their total number follows.
    """
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f", ... ({len(names):,})" if len(names) > most else "")
