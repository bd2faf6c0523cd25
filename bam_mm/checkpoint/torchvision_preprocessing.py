"""The weights that torchvision publishes for its models, and their preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bam_mm.checkpoint.geometry import Geometry
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.variables.entries import kind_of


def published_weights(model_name: str) -> Any | None:
    """Return torchvision's enum of the published weights of a model.

    Args:
        model_name: Name of the model, such as ``resnet50``.

    Returns:
        The enum, such as ``ResNet50_Weights``; None for a model that you have registered yourself.
    """
    from torchvision import models  # Slow to import and rarely needed.

    try:
        return models.get_model_weights(model_name)
    except ValueError:
        return None


def torchvision_preprocessing(
    backbone: Mapping[str, Any], checkpoint: str | Path | None = None
) -> Preprocessing | None:
    """Return the transforms of a model's weights in torchvision.

    Args:
        backbone: Config of a backbone, such as ``dict(type='bam_mm.TorchvisionBackbone',
            model_name='resnet50')``.
        checkpoint: File of the weights. Its name decides between the weights of one model, as in
            ``resnet50-0676ba61.pth``; torchvision's default decides for other names.

    Returns:
        The preprocessing; None if the backbone is not torchvision's, or torchvision publishes no
        weights for it.
    """
    if kind_of(backbone) != "TorchvisionBackbone":
        return None
    published = published_weights(str(backbone.get("model_name", "")))
    if published is None:
        return None
    name = Path(checkpoint).name if checkpoint else ""
    weights = next((w for w in published if w.url.endswith(f"/{name}")), published.DEFAULT)
    steps = weights.transforms()
    if not hasattr(steps, "crop_size"):  # Of a detector or segmentor, which is refused when built.
        return None
    source = f"torchvision's transforms of {weights}"
    size, short_side = steps.crop_size[0], steps.resize_size[0]
    mean, std = (tuple(round(255.0 * v, 6) for v in values) for values in (steps.mean, steps.std))
    geometry = Geometry(size, size / short_side, steps.interpolation.value)
    return Preprocessing(mean, std, source, "rgb", geometry, source)
