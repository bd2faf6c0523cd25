"""Settings of data loaders that do not go together."""

from __future__ import annotations

from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.variables.entries import walk

_OF_WORKERS = ("persistent_workers", "prefetch_factor", "multiprocessing_context", "timeout")
"""Settings with which torch's DataLoader rejects ``num_workers=0``, or that need workers."""


def fit_loaders(config: Config) -> None:
    """Remove the settings of worker processes from loaders without any, at any depth.

    torch's DataLoader rejects ``persistent_workers`` and ``prefetch_factor`` with
    ``num_workers=0``, which is what one sets to debug, or if shared memory is short.

    Args:
        config: Config of a run, changed in place.

    Raises:
        InputError: If a number of workers or a batch size is impossible.
    """
    for path, node in list(walk(config)):
        if not isinstance(node, dict) or not _is_loader(node):
            continue
        for name, least in (("num_workers", 0), ("batch_size", 1)):
            value = node.get(name)
            wrong = not isinstance(value, int) or isinstance(value, bool) or value < least
            if name in node and wrong and not (name == "batch_size" and value is None):
                raise InputError(
                    f"{path}.{name}={value!r}: must be an integer of at least {least}; set "
                    f"--cfg-options {path}.{name}={least or 2}"
                )
        if not node.get("num_workers", 0):
            for name in _OF_WORKERS:
                if name in node:
                    del node[name]


def _is_loader(node: dict) -> bool:
    return "type" not in node and (
        "num_workers" in node or ("dataset" in node and "batch_size" in node)
    )
