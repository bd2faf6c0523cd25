"""Numbers of a config that the libraries use without a check, or reject with a traceback."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.variables.entries import name_of, walk


def _is_count(value: Any, least: int) -> bool:
    # mmengine reads 1e5 as the integer that it is.
    return _is_number(value) and value == math.floor(value) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _is_positive(value: Any) -> bool:
    return value == math.inf or (_is_number(value) and value > 0)  # inf only logs the norm


def _are_numbers(value: Any, least: float = -math.inf) -> bool:
    # Two numbers are those of no image: one for grey ones, three for colours, more for bands.
    listed = isinstance(value, (list, tuple)) and len(value) not in (0, 2)
    return listed and all(_is_number(each) and each > least for each in value)


def _are_counts(value: Any) -> bool:
    return all(
        _is_count(each, 1) for each in (value if isinstance(value, (list, tuple)) else [value])
    )


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    # mmengine trains nothing for 0 or -1 epochs, and ends with code 0.
    (r"train_cfg\.(max_epochs|max_iters)", lambda v: _is_count(v, 1), "an integer of at least 1"),
    (r"train_cfg\.val_interval", lambda v: _is_count(v, 1), "an integer of at least 1"),
    (r"train_cfg\.val_begin", lambda v: _is_count(v, 0), "an integer of at least 0"),
    (r"default_hooks\.logger\.interval", lambda v: _is_count(v, 1), "an integer of at least 1"),
    (
        r"default_hooks\.\w+\.interval",
        lambda v: _is_count(v, -1),
        "an integer, or -1 for never",
    ),
    (
        r"randomness\.seed",
        _is_seed,
        "an integer from 0 to 2^32 - 1, or None for a random one",
    ),
    (
        r"optim_wrapper\.accumulative_counts",
        lambda v: _is_count(v, 1),
        "an integer of at least 1",
    ),
    (
        r"optim_wrapper\.optimizer\.(lr|weight_decay)",
        lambda v: _is_number(v) and v >= 0,
        "a number of at least 0, with a point for decimals",
    ),
    # A negative norm would turn every gradient around.
    (
        r"optim_wrapper\.clip_grad\.(max_norm|clip_value)",
        _is_positive,
        "a number above 0, or optim_wrapper.clip_grad=None to switch it off",
    ),
    (
        r"param_scheduler(\.\d+)?\.begin",
        lambda v: _is_count(v, 0),
        "an integer of at least 0",
    ),
    (
        r"param_scheduler(\.\d+)?\.start_factor",
        lambda v: _is_number(v) and 0 < v <= 1,
        "a fraction above 0 and at most 1",
    ),
    (
        r"(model\.)?data_preprocessor\.mean",
        _are_numbers,
        "a list with a number for each channel, as in [123.675,116.28,103.53]",
    ),
    (
        r"(model\.)?data_preprocessor\.std",
        lambda v: _are_numbers(v, 0),
        "a list with a number above 0 for each channel, as in [58.395,57.12,57.375]",
    ),
    (
        r"(model\.)?data_preprocessor\.size|.*pipeline\.\d+\.crop_size",
        lambda v: all(
            _is_number(e) and e > 0 for e in (v if isinstance(v, (list, tuple)) else [v])
        ),
        "a number of pixels above 0, or height and width, as in (512, 512)",
    ),
    (  # Of the 0 best classes, none is right.
        r"(model\.head|(val|test)_evaluator(\.\d+)?)\.topk",
        _are_counts,
        "an integer of at least 1, or several, as in [1,5]",
    ),
    (
        r"model\.(\w+\.)*(drop_path_rate|drop_rate)",
        lambda v: isinstance(v, (list, tuple)) or (_is_number(v) and 0 <= v < 1),
        "a fraction of at least 0 and below 1",
    ),
)
"""Pattern of a dotted key, what its value must fulfil, and the same in words. The first pattern
that fits a key decides."""


def check_numbers(config: Config) -> None:
    """Check numbers that would train nothing, train something else, or fail in a library.

    Args:
        config: Config of a run.

    Raises:
        InputError: If one of them is out of its range or of another type, or a part of the schedule
            ends before it begins. A setting that is None passes.
    """
    for path, value in walk(config):
        for pattern, allowed, words in _RULES:
            if not re.fullmatch(pattern, path):
                continue
            if value is not None and not allowed(value):
                raise InputError(f"{path}={value!r} of {name_of(config)}: must be {words}")
            break
        if re.fullmatch(r"param_scheduler(\.\d+)?", path) and isinstance(value, Mapping):
            begin, end = value.get("begin", 0), value.get("end")
            if _is_number(begin) and _is_number(end) and end <= begin:
                raise InputError(
                    f"{path}.end={end} of {name_of(config)}: must be above {path}.begin={begin}"
                )
