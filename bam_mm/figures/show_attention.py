"""Attention of the backbone on a few fixed images, drawn during a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import nn

from bam_mm.data.loading import read_image
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.figures.attention import overlay
from bam_mm.figures.show_views import HEIGHT, checked, iterations_between
from bam_mm.figures.tiles import grid, tile
from bam_mm.models.encoders import branches_of
from bam_mm.models.evaluation_wrapper import evaluated
from bam_mm.models.saliency import saliency
from bam_mm.registry import HOOKS
from bam_mm.views import ViewLayout


@HOOKS.register_module()
class ShowAttentionHook(Hook):
    """Draw where the backbone looks in a few fixed images, as the training goes on.

    The picture ``attention`` shows each image and, below it, the map of each branch: the class
    token's attention of a vision transformer, averaged over heads, or the last feature map of
    another network (:func:`~bam_mm.models.saliency.saliency`). It goes to every backend of the
    visualizer.

    Each picture costs one forward pass of ``num`` images in evaluation mode for each branch. No
    random number is drawn and no statistic changes, so the training is bit for bit the same with
    and without the hook. If a model has no backbone with such a map, or one that does not take
    squares of this size, the hook logs a warning with the reason and stays off.

    Args:
        num: Number of images, at even intervals from the training set.
        images: Paths of other images to use instead.
        interval: Number of epochs (or iterations, in a training that counts them) between two
            pictures; None draws about twenty in the whole training, at most one an epoch. There is
            one before the first iteration and one after the last in any case.
        size: Side of the square that is cut from the middle of an image, in pixels; None for that
            of the largest view in a pretraining, else of the backbone, else 224 or the short side
            of the smallest image.
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
        paths = self.paths or _paths(runner.train_dataloader.dataset, self.num)
        if not paths:
            return  # The training set is not one of files.
        images = [read_image(path, "replace the file") for path in paths]
        side = self.size or _side_of(unwrap_model(runner.model), images)
        self.images = np.stack([_square(image, side) for image in images])
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
        try:
            maps = self._maps(runner.model)
        except Exception as error:  # A picture is not worth the training.
            self.images = None
            reason = error if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            runner.logger.warning(f"ShowAttentionHook draws nothing from here on: {reason}")
            return
        if is_main_process():
            runner.visualizer.add_image("attention", self._picture(maps), step=step)

    @torch.no_grad()
    def _maps(self, wrapped: nn.Module) -> dict[str, np.ndarray]:
        branches = branches_of(wrapped)
        model: Any = unwrap_model(wrapped)
        images = torch.from_numpy(self.images).permute(0, 3, 1, 2)
        with evaluated(branches.values()):
            batch = model.data_preprocessor(dict(inputs=images, data_samples=None), False)
            return {
                name: saliency(branch, batch["inputs"]).float().cpu().numpy()
                for name, branch in sorted(branches.items(), reverse=True)  # the teacher first
            }

    def _picture(self, maps: dict[str, np.ndarray]) -> np.ndarray:
        assert self.images is not None
        images = [np.ascontiguousarray(image[:, :, ::-1]) for image in self.images]
        rows = [[tile(image, height=HEIGHT) for image in images]]
        for heat in maps.values():
            drawn = (overlay(image, map_) for image, map_ in zip(images, heat, strict=True))
            rows.append([tile(each, height=HEIGHT) for each in drawn])
        return grid(rows)


def _side_of(model: Any, images: Sequence[np.ndarray]) -> int:
    layout = getattr(getattr(model, "data_preprocessor", None), "layout", None)
    known = max(layout.sizes) if isinstance(layout, ViewLayout) else None
    known = known or getattr(getattr(model, "backbone", None), "img_size", None)
    known = known or min(224, *(min(image.shape[:2]) for image in images))
    return int(known[0] if isinstance(known, (tuple, list)) else known)


def _paths(dataset: Any, count: int) -> list[str]:
    places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    try:
        return [dataset.get_data_info(int(place))["img_path"] for place in places]
    except (AttributeError, KeyError, TypeError):
        return []


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """Resize the short side of an image, and cut a square from its middle."""
    scale = side / min(image.shape[:2])
    size = tuple(max(round(length * scale), side) for length in image.shape[1::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
