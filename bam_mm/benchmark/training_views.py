"""The views that a pretraining config makes, for people to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.multi_crop import MultiCrop
from bam_mm.errors import InputError
from bam_mm.registry import DATASETS, MODELS
from bam_mm.views import ViewLayout

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ViewedImage:
    """One training image and its views.

    Attributes:
        path: Of the image.
        original: (H, W, 3) uint8 RGB, what the crops were taken from.
        box: ContrastiveCrop's box in pixels (top, left, bottom, right), None before there is one.
        crops: Where each view lies in the original, likewise in pixels.
        flips: Whether each view is flipped.
        views: (h, w, 3) uint8 RGB each, as the backbone gets them but for the normalisation.
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
        config: A config of ``configs/pretrain/``.
        seed: Of whatever is drawn at random.
        boxes: A checkpoint whose ContrastiveCrop boxes are to be used.

    Attributes:
        dataset: The training set.
        preprocessor: The model's, which normalises and may augment.
        layout: The views.

    Raises:
        InputError: If the config is of another kind, or the checkpoint has no boxes.
    """

    def __init__(self, config: Config, *, seed: int = 0, boxes: str | Path | None = None) -> None:
        loader = config.get("train_dataloader")
        if not loader or "data_preprocessor" not in config.get("model", {}):
            raise InputError(
                f"{config.filename} trains nothing with views: name a config of configs/pretrain/"
            )
        init_default_scope(config.get("default_scope", "mmpretrain"))
        # mmengine reports every tensor that init_weights leaves alone.
        MMLogger.get_instance("views", log_level="WARNING")
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
                f"{', '.join(type(step).__name__ for step in steps)}: to be looked at, it needs "
                "one bam_mm.MultiCrop and PackInputs after it"
            )
        self.store = steps[crops[0]].boxes
        if boxes is not None:
            self._take_boxes(boxes)
        steps.insert(crops[0], _keep_original)
        packs[0].meta_keys = (*packs[0].meta_keys, "original", "crop_boxes", "flips", "sample_idx")

    def choose(self, count: int, *, seed: int = 0) -> np.ndarray:
        """Choose images at random: (count,) different positions in the data set, ascending.

        Raises:
            InputError: If there are not that many images.
        """
        if not 1 <= count <= len(self.dataset):
            raise InputError(
                f"--num {count}: the training set has {len(self.dataset)} images, choose from 1 to "
                "that many"
            )
        return np.sort(np.random.default_rng(seed).choice(len(self.dataset), count, replace=False))

    def batch(self, indices: Sequence[int]) -> tuple[list[Tensor], list]:
        """Make the views of some images.

        Args:
            indices: B positions in the data set.

        Returns:
            V tensors (B, 3, h, w), normalised as for the backbone, and the B data samples.
        """
        data = default_collate([self.dataset[int(i)] for i in indices])
        data = self.preprocessor(data, training=True)
        return data["inputs"], data["data_samples"]

    def look(self, indices: Sequence[int]) -> Iterator[ViewedImage]:
        """Make the views of some images, each with the original and the places of the crops."""
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
            pixels = pixels.flip(1)  # The backbone gets BGR, as images are loaded.
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def _take_boxes(self, path: str | Path) -> None:
        found = read_checkpoint(path).get("boxes")
        if found is None:
            raise InputError(
                f"checkpoint {path} holds no boxes: it was saved before ContrastiveCrop's first "
                "ones, or trained without; leave --boxes out, or name a later checkpoint"
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
            f"the training set is a {type(dataset).__name__} without one pipeline: look at one of "
            "its parts"
        )
    return dataset.pipeline
