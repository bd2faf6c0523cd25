"""Settings with which a backbone takes the images of a task, whatever their size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from bam_mm.models.adapters import BackboneAdapter, adapter_of
from bam_mm.variables.entries import kind_of

FAILURES = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""Exceptions with which a network of another library refuses an image."""

BUILD_FAILURES = (*FAILURES, ImportError, KeyError, OSError)
"""Exceptions with which a network is not built: an unknown type, a wrong value, no package."""


def task_image(config: Config) -> Tensor:
    """Return a black image of the size that the task's test pipeline produces.

    Args:
        config: Config of the task.
    """
    loader = config.get("test_dataloader") or config.get("val_dataloader") or {}
    size = 224
    for step in (loader.get("dataset") or {}).get("pipeline") or ():
        if kind_of(step) == "CenterCrop":
            size = step["crop_size"]
    if "img_size" in config.model.backbone and size == 224:
        size = config.model.backbone.img_size
    return torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size))


def accepting(
    config: Config,
    build: Callable[[Mapping], nn.Module],
    run: Callable[[nn.Module, Tensor], Any],
    size: tuple[int, int] | None = None,
    *,
    several: bool = True,
) -> tuple[nn.Module, Any]:
    """Build the backbone with settings with which it takes the task's images.

    Args:
        config: Config of the task with the backbone of the model, changed in place.
        build: Function that builds the backbone.
        run: What is tried.
        size: Size (H, W) of the images, None for that of the task's test pipeline.
        several: Whether images of other sizes than ``size`` follow.

    Returns:
        The backbone, and what ``run`` returns for a black image.
    """
    own = config.model.backbone
    image = torch.zeros(1, 3, *size) if size else task_image(config)
    failure: Exception | None = None
    for settings in _settings_for(
        own, build, (image.shape[2], image.shape[3]), video=bool(size) and several
    ):
        attempt = ConfigDict({**own, **settings})
        try:
            backbone = in_evaluation(build(attempt))
            with torch.no_grad():
                output = run(backbone, image)
        except FAILURES as error:
            failure = failure or error
            continue
        config.model.backbone = attempt
        return backbone, output
    assert failure is not None
    raise failure


def _settings_for(
    own: Mapping[str, Any],
    build: Callable[[Mapping], nn.Module],
    size: tuple[int, int],
    *,
    video: bool,
) -> Iterator[dict[str, Any]]:
    """Yield settings to try in turn: none, any size, any size with padding, this size only."""
    yield {}
    try:
        backbone = build(own)
    except TypeError:
        if own.get("drop_path_rate"):
            yield {"drop_path_rate": None}
        return
    sizes = adapter_of(backbone).sizes
    any_size, padding = dict(sizes.any_size), dict(sizes.padding)
    for settings in (any_size, padding, any_size | padding):
        if settings:
            yield settings
    # Videos differ in size.
    if not video and size[0] == size[1] and _takes_img_size(backbone):
        yield {"img_size": size[0]}


def _takes_img_size(backbone: nn.Module) -> bool:
    model = getattr(backbone, "timm_model", backbone)
    return "img_size" in inspect.signature(type(model).__init__).parameters


def describe_inputs(
    config: Config, own: Mapping[str, Any], adapter: BackboneAdapter, rate: float | None = None
) -> list[str]:
    """Describe what happens to the size of the images, and to the drop path of the config."""
    height, width = task_image(config).shape[2:]
    notes = [adapter.padded(height, width)]
    if config.model.backbone.get("img_size") != own.get("img_size"):
        notes.append(f"the backbone is built for images of {width}x{height} pixels")
    if rate and config.model.backbone.get("drop_path_rate") != rate:
        notes.append(f"no drop path ({rate} in the config): the backbone does not have it")
    return [note for note in notes if note]


def in_evaluation(backbone: nn.Module) -> nn.Module:
    """Set a backbone to evaluation mode and return it.

    Args:
        backbone: Backbone in any mode.
    """
    backbone.eval()  # It returns None for backbones of mmpretrain.
    return backbone
