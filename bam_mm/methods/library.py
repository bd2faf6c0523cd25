"""What the methods share: the optional library of losses and heads, checks, precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from bam_mm.errors import InputError


def lightly(module: str, name: str, user: str) -> Any:
    """Import a class of lightly.

    Args:
        module: Module in lightly, such as ``loss``.
        name: Name of the class.
        user: Name of the class that needs it, for the message.

    Raises:
        InputError: If lightly is not installed or lacks the class.
    """
    try:
        return getattr(import_module(f"lightly.{module}"), name)
    except ImportError as error:
        raise InputError(
            f"bam_mm.{user} needs lightly, which cannot be imported ({error}): install it with "
            "pip install 'bam-mm[methods]'"
        ) from error
    except AttributeError as error:
        raise InputError(
            f"bam_mm.{user}: the installed lightly has no {module}.{name}; install it with "
            "pip install 'bam-mm[methods]'"
        ) from error


def check_positive(owner: str, **values: float) -> None:
    """Check that settings are positive numbers.

    Args:
        owner: Place of the settings, for the message, such as ``model.head``.
        **values: The settings.

    Raises:
        InputError: If a value is not positive.
    """
    for name, value in values.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value < float("inf")
        ):
            raise InputError(f"{owner}.{name}={value!r}: must be a positive number")


def full_precision(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorate the forward method of a head, so that it computes in float32 or better, as BAM's.

    Autocast would round the products of matrices to 8 or 11 bits. Temperatures of a few hundredths
    magnify that, and the nearest of many neighbours would be any of those that are rounded alike.

    Args:
        forward: Method whose arguments are tensors, lists of tensors, and others.

    Returns:
        The method without autocast, whose 16-bit arguments become float32.
    """

    @wraps(forward)
    def compute(self: Any, *arguments: Any) -> Tensor:
        first_rows = arguments[0][0] if isinstance(arguments[0], list) else arguments[0]
        with torch.autocast(first_rows.device.type, enabled=False):
            return forward(self, *(_raised(argument) for argument in arguments))

    return compute


def _raised(argument: Any) -> Any:
    if isinstance(argument, list):
        return [at_least_float32(rows) for rows in argument]
    return at_least_float32(argument) if isinstance(argument, Tensor) else argument


def at_least_float32(x: Tensor) -> Tensor:
    """Return 16-bit values as float32, and others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_counts(owner: str, **values: int) -> None:
    """Check that settings are whole positive numbers.

    Args:
        owner: Place of the settings, for the message, such as ``model.head``.
        **values: The settings.

    Raises:
        InputError: If a value is no whole number, or not positive.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{owner}.{name}={value!r}: must be a whole number of at least 1")
