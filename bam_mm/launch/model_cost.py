"""What the backbone of a test costs to use, for the record of the run."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_objects
from bam_mm.launch.batches import sharing
from bam_mm.launch.run_facts import first_size
from bam_mm.models.cost import complexity, parameter_count
from bam_mm.models.video_input import input_size


def model_cost(loop: Any, model: Any, loader: DataLoader) -> dict[str, Any] | None:
    """Return the cost of a test's backbone; every process must call this function.

    Args:
        loop: Test loop that has ended. A loop on features has measured their extraction, unless it
            read them from the cache.
        model: Model, whose ``backbone`` is counted unless the loop has an ``extractor``.
        loader: Dataloader of the test images or videos.

    Returns:
        ``parameters``, and ``gmacs``, 1e9 multiply-accumulates, for one image of ``size`` (H, W),
        None where they cannot be counted. If features were extracted: ``images_per_s`` of the
        backbone and ``read_images_per_s`` with reading, each of one process, ``peak_mb`` and
        ``peak_gpu_mb`` in MiB, the largest of a process, otherwise None. ``threads`` of a process,
        and ``sharing``, the number of processes that share the machine, are the conditions of
        these. None without a backbone.
    """
    module = getattr(loop, "extractor", None) or getattr(model, "backbone", None)
    if not isinstance(module, nn.Module):
        return None
    size = _size(model, loader)
    counted: dict[str, Any] = {"size": size, "parameters": parameter_count(module), "gmacs": None}
    if size is not None:
        try:
            counted["gmacs"] = complexity(module, (size[0], size[1])).macs / 1e9
        except Exception as error:  # Of any library, on tensors without values.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print_log(
                f"the multiply-accumulates of {type(module).__name__} cannot be counted: {reason}",
                logger="current",
                level=logging.WARNING,
            )
    conditions = {"threads": torch.get_num_threads(), "sharing": sharing()}
    return {**counted, **_measured(getattr(loop, "meter", None)), **conditions}


def _measured(meter: Any) -> dict[str, float | None]:
    names = ("images", "seconds", "read", "elapsed", "peak_mb", "peak_gpu_mb")
    every = gather_objects({name: getattr(meter, name, None) for name in names})
    sums = {name: sum(each[name] or 0 for each in every) for name in names[:4]}
    peaks = {
        name: max((each[name] for each in every if each[name] is not None), default=None)
        for name in names[4:]
    }
    return {
        "images_per_s": sums["images"] / sums["seconds"] if sums["seconds"] else None,
        "read_images_per_s": sums["read"] / sums["elapsed"] if sums["elapsed"] else None,
        **peaks,
    }


def _size(model: Any, loader: DataLoader) -> list[int] | None:
    """Return the size (H, W) of what the backbone sees of the first test image, if it is known."""
    settings = getattr(model, "test_cfg", None) or {}
    if settings.get("mode") == "slide":
        return list(settings["crop_size"])
    dataset: Any = loader.dataset
    if getattr(dataset, "videos", None) and hasattr(model, "short_side"):
        return list(input_size(dataset.videos[0].size, model.short_side, model.divisor))
    size = first_size(loader)
    divisor = getattr(getattr(model, "data_preprocessor", None), "pad_size_divisor", None) or 1
    return None if size is None else [-(-side // divisor) * divisor for side in size]
