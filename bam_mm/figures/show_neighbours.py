"""Nearest neighbours of a few validation images, drawn whenever the online kNN scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from bam_mm.data.loading import read_image
from bam_mm.figures.show_views import HEIGHT, checked
from bam_mm.figures.tiles import frame, grid, tile
from bam_mm.hooks.online_knn import OnlineKNNHook
from bam_mm.registry import HOOKS

SAME, OTHER = (0, 158, 115), (213, 94, 0)
"""Colours of the frames: green for the class of the query, red for another one."""


@HOOKS.register_module()
class ShowNeighboursHook(Hook):
    """Draw the nearest neighbours that the online kNN finds for a few validation images.

    In the picture ``neighbours``, a row shows a validation image and, to its right, the nearest
    training images, the nearest first, with a green frame if they have its class and a red one
    otherwise. The features are those of the first branch that :class:`OnlineKNNHook` scores, and
    are not computed again: a picture costs reading its images. Without that hook, nothing is drawn.

    Args:
        num: Number of validation images, at even intervals.
    """

    # After OnlineKNNHook (LOW, 70).
    priority = 75

    def __init__(self, num: int = 6) -> None:
        self.num = checked("ShowNeighboursHook", "num", num)
        self.knn: OnlineKNNHook | None = None

    def before_run(self, runner: Any) -> None:
        """Ask the online kNN to keep neighbours."""
        self.knn = next((hook for hook in runner.hooks if isinstance(hook, OnlineKNNHook)), None)
        if self.knn is not None:
            self.knn.shown = self.num

    def before_train(self, runner: Any) -> None:
        """Draw the neighbours by the untrained network, if it was scored."""
        self._draw(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Draw the neighbours if there are new ones."""
        self._draw(runner)

    def _draw(self, runner: Any) -> None:
        if self.knn is None or self.knn.neighbours is None:
            return
        (queries, places), self.knn.neighbours = self.knn.neighbours, None
        if not is_main_process():
            return
        assert self.knn.built is not None  # Set before it scores.
        bank, images = (loader.dataset for loader in self.knn.built)
        rows = []
        for query, found in zip(queries, places, strict=True):
            info = images.get_data_info(query)
            label = info["gt_label"]
            label = label if self.knn.columns is None else self.knn.columns[label]
            row = [_tile(info)]
            for place in found:
                other = bank.get_data_info(place)
                picture = _tile(other)
                colour = SAME if other["gt_label"] == label else OTHER
                frame(picture, (0, 0, *picture.shape[:2]), colour, thickness=3)
                row.append(picture)
            rows.append(row)
        runner.visualizer.add_image("neighbours", grid(rows), step=runner.iter)


def _tile(info: dict[str, Any]) -> np.ndarray:
    if "img" in info:  # Decoded already, as RGB: mmpretrain's CIFAR.
        return tile(info["img"], height=HEIGHT)
    image = read_image(info["img_path"], "restore the file")
    return tile(np.ascontiguousarray(image[:, :, ::-1]), height=HEIGHT)
