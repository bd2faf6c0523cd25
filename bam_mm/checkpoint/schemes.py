"""Safe loading of checkpoints by mmengine and other libraries, which would unpickle them."""

from __future__ import annotations

import os
from typing import Any

from mmengine.runner import CheckpointLoader

from bam_mm.checkpoint.reading import FORCE_SAFE, FORCE_UNSAFE, read_checkpoint
from bam_mm.errors import InputError


def forbid_unpickling() -> None:
    """Make mmengine load every checkpoint with :func:`read_checkpoint`.

    By default, mmengine tries ``weights_only=True`` and then silently unpickles the whole file, and
    unpickles downloaded files directly. After this call, ``load_from``, ``resume``, ``init_cfg`` of
    type ``Pretrained`` and ``runner.load_checkpoint`` read local files safely. Every other scheme
    (``https://``, ``torchvision://``, ``open-mmlab://``, ``mmcls://``, ``s3://``, ...) is refused
    with a message. Other calls of ``torch.load``, such as that of timm's ``checkpoint_path``, can
    only read weights, in this process and its child processes.
    """
    for prefix in list(CheckpointLoader._schemes):
        loader = load_from_local_safely if prefix == "" else load_from_elsewhere_refused
        CheckpointLoader.register_scheme(prefixes=prefix, loader=loader, force=True)
    os.environ.pop(FORCE_UNSAFE, None)
    os.environ[FORCE_SAFE] = "1"


def load_from_local_safely(filename: str, map_location: Any = None) -> dict:
    """Read a local file. mmengine logs the name of this function without the first ten letters."""
    return read_checkpoint(filename, map_location)


def load_from_elsewhere_refused(filename: str, map_location: Any = None) -> dict:
    """Refuse a checkpoint that is not a local file.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f"checkpoint {filename} is not a local file: nothing is downloaded automatically; download "
        "it (curl -LO URL) and pass its path"
    )
