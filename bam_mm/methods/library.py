"""What the methods share: the optional library of losses and heads, checks, precision."""

from __future__ import annotations

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
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(f"{owner}.{name}={value!r}: must be a positive number")


def at_least_float32(x: Tensor) -> Tensor:
    """Return 16-bit values as float32, for exponentials, and others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def first(output: Any) -> Tensor:
    """Return the output of a neck, which mmpretrain's necks return in a tuple."""
    return output[0] if isinstance(output, (tuple, list)) else output
