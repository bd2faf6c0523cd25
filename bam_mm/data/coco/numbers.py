"""Numbers in JSON files, also those written as texts."""

from __future__ import annotations

from math import isfinite
from typing import Any


def finite_number(value: Any) -> float | None:
    """Return a finite number, also one written as a text; None for anything else.

    Args:
        value: Value from a JSON file. Integers stay integers; true and false are no numbers.
    """
    try:
        number = float(value) if type(value) in (int, float, str) else None
    except (ValueError, OverflowError):
        return None
    if number is None or not isfinite(number):
        return None
    return value if type(value) is int else number
