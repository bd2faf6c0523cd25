"""Attention of the backbone on a few fixed images, drawn during a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from bam_mm.data.loading import read_image
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.figures.attention import overlay
from bam_mm.figures.show_views import HEIGHT, checked, iterations_between
from bam_mm.figures.tiles import grid, tile
from bam_mm.models.encoders import branches_of
from bam_mm.models.feature_extraction import evaluated
from bam_mm.models.saliency import saliency
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class ShowAttentionHook(Hook):
    """Draw where the backbone looks in a few fixed images, as the training goes on.

    The picture ``attention`` shows each image and, below it, the map of each branch: the class
    token's attention of a vision transformer, averaged over heads, or the last feature map of
    another network (:func:`~bam_mm.models.saliency.saliency`). It goes to every backend of the
    visualizer.

    Each picture costs one forward pass of ``num`` images in evaluation mode for each branch. No
    random number is drawn and no statistic changes, so the training is bit for bit the same with
    and without the hook. If a backbone has no such map, the hook logs a warning and stays off.

    Args:
        num: Number of images, at even intervals from the training set.
        images: Paths of other images to use instead.
        interval: Number of epochs (or iterations, in a training that counts them) between two
            pictures; None draws about twenty in the whole training, at most one an epoch. There is
            one before the first iteration and one after the last in any case.
        size: Side of the square that is cut from the middle of an image, in pixels; None for that
            of the backbone, or 224.
    """

    # After the teacher's update.
    priority = "LOW"

    def __init__(
        self,
        num: int = 8,
        images: Sequence[str] | None = None,
        interval: int | None = None,
        size: int | None = None,
    ) -> None:
        self.num = checked("ShowAttentionHook", "num", num)
        self.interval = interval and checked("ShowAttentionHook", "interval", interval)
        self.paths, self.size = images, size
        self.images: np.ndarray | None = None
        self.every = 0

    def before_train(self, runner: Any) -> None:
        """Read the images, and draw the first picture of a new training.

        Raises:
            InputError: If one of ``images`` cannot be read.
        """
        self.every = iterations_between(runner, self.interval)
        branches = branches_of(runner.model)
        side = self.size or _side_of(branches["student"])
        paths = self.paths or _paths(runner.train_dataloader.dataset, self.num)
        if not paths:
            return  # The training set is not one of files.
        self.images = np.stack([_square(path, side) for path in paths])
        if runner.iter == 0:
            self._draw(runner, 0)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the maps if a picture is due."""
        done = runner.iter + 1
        if self.images is not None and (done % self.every == 0 or done == runner.max_iters):
            self._draw(runner, done)

    def _draw(self, runner: Any, step: int) -> None:
        # On every process, because sharded parameters are gathered from all of them.
        model: Any = unwrap_model(runner.model)
        branches = branches_of(runner.model)
        images = torch.from_numpy(self.images).permute(0, 3, 1, 2)
        samples = None
        with torch.no_grad(), evaluated(branches.values()):
            batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), False)
            try:
                maps = {
                    name: saliency(branch, batch["inputs"]).float().cpu().numpy()
                    for name, branch in sorted(branches.items(), reverse=True)  # teacher first
                }
            except InputError as error:
                self.images = None
                runner.logger.warning(f"no picture of the attention: {error}")
                return
        if is_main_process():
            runner.visualizer.add_image("attention", self._picture(maps), step=step)

    def _picture(self, maps: dict[str, np.ndarray]) -> np.ndarray:
        assert self.images is not None
        images = [np.ascontiguousarray(image[:, :, ::-1]) for image in self.images]
        rows = [[tile(image, height=HEIGHT) for image in images]]
        for heat in maps.values():
            drawn = (overlay(image, map_) for image, map_ in zip(images, heat, strict=True))
            rows.append([tile(each, height=HEIGHT) for each in drawn])
        return grid(rows)


def _side_of(backbone: Any) -> int:
    inner = getattr(backbone, "timm_model", backbone)
    known = getattr(inner, "img_size", None) or getattr(inner, "default_cfg", {}).get("input_size")
    side = known[-1] if isinstance(known, (tuple, list)) else known
    return int(side or 224)


def _paths(dataset: Any, count: int) -> list[str]:
    places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    try:
        return [dataset.get_data_info(int(place))["img_path"] for place in places]
    except (AttributeError, KeyError, TypeError):
        return []


def _square(path: str | Path, side: int) -> np.ndarray:
    """Read an image, resize its short side, and cut a square (BGR) from its middle."""
    image = read_image(path, "replace the file")
    scale = side / min(image.shape[:2])
    size = tuple(max(round(length * scale), side) for length in image.shape[1::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
