"""No library that we call unpickles behind our back."""

from __future__ import annotations

import os
from typing import Any

from mmengine.runner import CheckpointLoader

from bam_mm.checkpoint.reading import FORCE_SAFE, FORCE_UNSAFE, read_checkpoint
from bam_mm.errors import InputError


def forbid_unpickling() -> None:
    """Make every checkpoint that mmengine loads go through :func:`read_checkpoint`.

    mmengine tries ``weights_only=True`` and then silently unpickles whatever the file holds; what
    it downloads it unpickles at once. Afterwards ``load_from``, ``resume``, ``init_cfg`` of type
    ``Pretrained`` and ``runner.load_checkpoint`` read local files safely, and every other scheme
    (``https://``, ``torchvision://``, ``open-mmlab://``, ``mmcls://``, ``s3://``, ...) is refused
    with a message. Other callers of ``torch.load``, such as timm's ``checkpoint_path``, are made to
    read weights only, for this process and those that it starts.
    """
    for prefix in list(CheckpointLoader._schemes):
        loader = load_from_local_safely if prefix == "" else load_from_elsewhere_refused
        CheckpointLoader.register_scheme(prefixes=prefix, loader=loader, force=True)
    os.environ.pop(FORCE_UNSAFE, None)
    os.environ[FORCE_SAFE] = "1"


def load_from_local_safely(filename: str, map_location: Any = None) -> dict:
    """Read a local file. mmengine prints the name of this function from its eleventh letter on."""
    return read_checkpoint(filename, map_location)


def load_from_elsewhere_refused(filename: str, map_location: Any = None) -> dict:
    """Refuse what is not a local file.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f"checkpoint {filename} is not a local file: nothing is downloaded here; fetch it yourself "
        "(curl -LO URL) and give its path"
    )
