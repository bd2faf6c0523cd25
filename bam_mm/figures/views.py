"""Pictures of the views that a pretraining config creates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Rectangle
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.multi_crop import MultiCrop
from bam_mm.errors import InputError
from bam_mm.models.building import log_only_warnings
from bam_mm.protocols.plots import plt, save_figure
from bam_mm.registry import DATASETS, MODELS
from bam_mm.views import ViewLayout

Box = tuple[float, float, float, float]

_TAB10: Any = plt.get_cmap("tab10")  # A ListedColormap, but annotated as a Colormap.

COLOURS = tuple(_TAB10.colors)


@dataclass(frozen=True)
class ViewedImage:
    """One training image and its views.

    Attributes:
        path: Path of the image.
        original: Image (H, W, 3) uint8 RGB that the crops are taken from.
        box: ContrastiveCrop's box in pixels (top, left, bottom, right), None if there is none yet.
        crops: Crop of each view in the original, in pixels (top, left, bottom, right).
        flips: Whether each view is flipped.
        views: Views (h, w, 3) uint8 RGB, the input of the backbone before normalisation.
    """

    path: str
    original: np.ndarray
    box: Box | None
    crops: tuple[Box, ...]
    flips: tuple[bool, ...]
    views: tuple[np.ndarray, ...]


class TrainingViews:
    """Training set and preprocessor of a pretraining config, without its model.

    Args:
        config: Pretraining config, one of ``configs/pretrain/``.
        seed: Seed of all random choices.
        boxes: Checkpoint whose ContrastiveCrop boxes are used; None uses none.

    Attributes:
        dataset: Training set.
        preprocessor: Data preprocessor of the model, which normalises and may augment.
        layout: Number and sizes of the views.

    Raises:
        InputError: If the config is not a pretraining config, or the checkpoint has no boxes.
    """

    def __init__(self, config: Config, *, seed: int = 0, boxes: str | Path | None = None) -> None:
        loader = config.get("train_dataloader")
        if not loader or "data_preprocessor" not in config.get("model", {}):
            raise InputError(
                f"{config.filename} does not train with views: use a config of configs/pretrain/"
            )
        init_default_scope(config.get("default_scope", "mmpretrain"))
        log_only_warnings()
        set_random_seed(seed)
        self.dataset = DATASETS.build(loader["dataset"])
        self.preprocessor = MODELS.build(config.model["data_preprocessor"])
        self.layout = ViewLayout.of(config.model["layout"])
        steps = _pipeline(self.dataset).transforms
        crops = [i for i, step in enumerate(steps) if isinstance(step, MultiCrop)]
        packs = [step for step in steps if isinstance(step, PackInputs)]
        if len(crops) != 1 or not packs:
            raise InputError(
                f"the training pipeline of {config.filename} is "
                f"{', '.join(type(step).__name__ for step in steps)}: showing its views "
                "needs exactly one bam_mm.MultiCrop, followed by PackInputs"
            )
        self.store = steps[crops[0]].boxes
        if boxes is not None:
            self._take_boxes(boxes)
        steps.insert(crops[0], _keep_original)
        packs[0].meta_keys = (*packs[0].meta_keys, "original", "crop_boxes", "flips", "sample_idx")

    def choose(self, count: int, *, seed: int = 0) -> np.ndarray:
        """Choose images at random.

        Args:
            count: Number of images.
            seed: Seed of the choice.

        Returns:
            Different positions in the data set (count,), in ascending order.

        Raises:
            InputError: If ``count`` is below 1 or above the number of images.
        """
        if not 1 <= count <= len(self.dataset):
            raise InputError(
                f"--num {count}: the training set has {len(self.dataset)} images; choose a number "
                f"from 1 to {len(self.dataset)}"
            )
        return np.sort(np.random.default_rng(seed).choice(len(self.dataset), count, replace=False))

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[list[Tensor], list]:
        """Create the views of some images.

        Args:
            indices: Positions of B images in the data set.

        Returns:
            V tensors (B, 3, h, w), normalised for the backbone, and the B data samples.
        """
        data = default_collate([self.dataset[int(i)] for i in indices])
        data = self.preprocessor(data, training=True)
        return data["inputs"], data["data_samples"]

    def images(self, indices: Sequence[int] | np.ndarray) -> Iterator[ViewedImage]:
        """Create the views of some images, together with the originals and the crop positions.

        Args:
            indices: Positions of the images in the data set.

        Yields:
            The images, in the order of ``indices``.
        """
        inputs, samples = self.batch(indices)
        views = [self._picture(view) for view in inputs]
        for row, sample in enumerate(samples):
            original = sample.get("original")
            box = None
            if self.store.active:
                height, width = original.shape[:2]
                top, left, bottom, right = self.store.box(sample.get("sample_idx"))
                box = (top * height, left * width, bottom * height, right * width)
            yield ViewedImage(
                path=str(sample.get("img_path", "")),
                original=np.ascontiguousarray(original[..., ::-1]),
                box=box,
                crops=tuple(sample.get("crop_boxes")),
                flips=tuple(sample.get("flips")),
                views=tuple(view[row] for view in views),
            )

    def _picture(self, view: Tensor) -> np.ndarray:
        # (B, 3, h, w) normalised -> (B, h, w, 3) uint8 RGB
        pixels = view.float()
        if self.preprocessor._enable_normalize:
            pixels = pixels * self.preprocessor.std + self.preprocessor.mean
        if not self.preprocessor._channel_conversion:
            pixels = pixels.flip(1)  # The backbone receives BGR, as images are loaded.
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def _take_boxes(self, path: str | Path) -> None:
        found = read_checkpoint(path).get("boxes")
        if found is None:
            raise InputError(
                f"checkpoint {path} holds no boxes: it was saved before ContrastiveCrop's first "
                "boxes, or trained without them; leave --boxes out, or pass a later checkpoint"
            )
        self.store.allocate(len(self.dataset))
        self.store.load(found)


def _keep_original(results: dict) -> dict:
    results["original"] = results["img"]
    return results


def _pipeline(dataset):
    while not hasattr(dataset, "pipeline") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    if not hasattr(dataset, "pipeline"):
        raise InputError(
            f"the training set is a {type(dataset).__name__} without a pipeline of its own: set "
            "train_dataloader.dataset to one of its parts"
        )
    return dataset.pipeline


def plot_views(images: Sequence[ViewedImage], layout: ViewLayout, out: str | Path) -> Path:
    """Plot one row per image: the original with all crops, then every view.

    A crop and its view have frames of the same colour; ContrastiveCrop's box is dashed.

    Args:
        images: Images to plot.
        layout: Number and sizes of the views.
        out: File to write.

    Returns:
        ``out``.
    """
    columns = 1 + layout.num_views
    figure, axes = plt.subplots(
        len(images),
        columns,
        figsize=(1.55 * columns, 1.62 * len(images) + 0.3),
        width_ratios=(1.3, *[1] * layout.num_views),
        constrained_layout=True,
        squeeze=False,
    )
    names = [f"global {i + 1}" for i in range(layout.num_global)]
    names += [f"local {i + 1}" for i in range(layout.num_local)]
    for row, image in zip(axes, images, strict=True):
        _show(row[0], image.original)
        for number, crop in enumerate(image.crops):
            _frame(row[0], crop, COLOURS[number % len(COLOURS)], "-")
        if image.box is not None:
            _frame(row[0], image.box, "white", "--")
        for number, (axis, view) in enumerate(zip(row[1:], image.views, strict=True)):
            _show(axis, view)
            for spine in axis.spines.values():
                spine.set(visible=True, color=COLOURS[number % len(COLOURS)], linewidth=2.5)
            if image.flips[number]:
                axis.set_xlabel("flipped", fontsize=7, labelpad=2)
    dashed = any(image.box is not None for image in images)
    axes[0, 0].set_title("original, crops" + (", box - -" if dashed else ""), fontsize=8)
    for axis, name, size in zip(axes[0, 1:], names, layout.sizes, strict=True):
        axis.set_title(f"{name}, {size} px", fontsize=8)
    return save_figure(figure, out)


def _show(axis, image) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _frame(axis, box, colour, style) -> None:
    top, left, bottom, right = box
    # Pixel centres have integer coordinates: a crop's edge is half a pixel before its first pixel.
    place = dict(xy=(left - 0.5, top - 0.5), width=right - left, height=bottom - top, fill=False)
    # A dark line underneath keeps the frame visible on any image.
    for edge, width in (("black", 2.6), (colour, 1.5)):
        axis.add_patch(Rectangle(**place, edgecolor=edge, linewidth=width, linestyle=style))
