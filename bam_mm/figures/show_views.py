"""Pictures of a training's batches, as the network sees them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn

from bam_mm.data.loading import read_image
from bam_mm.data.multi_crop import MultiCrop
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.figures.tiles import frame, grid, tile
from bam_mm.registry import HOOKS

PICTURES = 20
"""Number of times that a hook draws in a training, if no interval is set."""

HEIGHT = 96
"""Height of the tiles in pixels."""

COLOURS = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
"""Colours of the views, the same as in ``bam-mm views``."""


@HOOKS.register_module()
class ShowViewsHook(Hook):
    """Draw the first images of a batch as the network sees them, with all augmentations.

    In a pretraining, a row shows an image with the crops of all views and ContrastiveCrop's box
    (white), then the views. In other trainings, the rows show the inputs. The picture ``views``
    goes to every backend of the visualizer; mmengine's local one writes it to ``vis_data``.

    The hook copies what the data preprocessor returns anyway. It neither loads a batch nor draws a
    random number, so the training is bit for bit the same with and without it. A picture takes
    about 50 milliseconds with eight views of each image, reading the originals included.

    Args:
        num: Number of images.
        interval: Number of epochs (or iterations, in a training that counts them) between two
            pictures; None draws about twenty in the whole training, at most one an epoch.
    """

    priority = "LOW"

    def __init__(self, num: int = 6, interval: int | None = None) -> None:
        self.num = checked("ShowViewsHook", "num", num)
        self.interval = interval and checked("ShowViewsHook", "interval", interval)
        self.every = 0
        self.batch: dict[str, Any] = {}
        self.handle: Any = None
        self.crop: MultiCrop | None = None

    def before_train(self, runner: Any) -> None:
        """Let the pipeline hand on where it crops, before any worker starts."""
        self.every = iterations_between(runner, self.interval)
        steps = getattr(getattr(_inner(runner), "pipeline", None), "transforms", ())
        self.crop = next((step for step in steps if isinstance(step, MultiCrop)), None)
        if self.crop is None:
            return
        for step in steps:
            if hasattr(step, "meta_keys"):
                more = ("sample_idx", "img_path", "crop_boxes", "flips")
                step.meta_keys = tuple(dict.fromkeys((*step.meta_keys, *more)))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Copy what the preprocessor is about to return, if a picture is due."""
        if not is_main_process() or runner.iter % self.every:
            return
        model: Any = unwrap_model(runner.model)
        self.handle = model.data_preprocessor.register_forward_hook(self._keep)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the copy."""
        if self.handle is None:
            return
        self.handle.remove()
        batch, self.batch, self.handle = self.batch, {}, None
        if not batch:
            return
        model: Any = unwrap_model(runner.model)
        views = [pictures_of(model.data_preprocessor, view) for view in batch["inputs"]]
        rows = [
            self._row([view[row] for view in views], sample)
            for row, sample in enumerate(batch["data_samples"])
        ]
        if len(views) == 1:  # Nothing but single images: several of them in a row.
            tiles = [each for row in rows for each in row]
            across = math.isqrt(len(tiles) - 1) + 1
            rows = [tiles[i : i + across] for i in range(0, len(tiles), across)]
        runner.visualizer.add_image("views", grid(rows), step=runner.iter + 1)

    def _keep(self, module: nn.Module, args: tuple, out: Any) -> None:
        inputs = out.get("inputs") if isinstance(out, dict) else None
        views = [inputs] if isinstance(inputs, Tensor) else inputs
        if not views or not all(isinstance(v, Tensor) and _are_images(v) for v in views):
            return  # Videos, features, or grey images.
        count = min(self.num, *(len(view) for view in views))
        samples = list(out.get("data_samples") or ())[:count]
        self.batch = {
            # The model may change its inputs in place.
            "inputs": [view[:count].detach().clone() for view in views],
            "data_samples": samples + [None] * (count - len(samples)),
        }

    def _row(self, views: list[np.ndarray], sample: Any) -> list[np.ndarray]:
        tallest = max(view.shape[0] for view in views)
        tiles = [
            tile(view, height=max(round(HEIGHT * view.shape[0] / tallest), 1)) for view in views
        ]
        if len(views) == 1 or self.crop is None or sample is None:
            return tiles
        for number, each in enumerate(tiles):
            frame(each, (0, 0, *each.shape[:2]), COLOURS[number % len(COLOURS)], thickness=2)
        original = self._original(sample)
        return tiles if original is None else [original, *tiles]

    def _original(self, sample: Any) -> np.ndarray | None:
        assert self.crop is not None
        try:
            image = read_image(sample.get("img_path"), "restore the file")[:, :, ::-1]
        except (InputError, TypeError):
            return None  # The image is no file, or no longer there: its views are still shown.
        scale = HEIGHT / image.shape[0]
        picture = np.ascontiguousarray(tile(image, height=HEIGHT))
        for number, box in enumerate(sample.get("crop_boxes", ())):
            frame(picture, box, COLOURS[number % len(COLOURS)], scale=scale)
        if self.crop.boxes.active:
            sides = (*image.shape[:2], *image.shape[:2])
            box = self.crop.boxes.box(sample.get("sample_idx"))
            whole = [part * side for part, side in zip(box, sides, strict=True)]
            frame(picture, whole, (255, 255, 255), scale=scale)
        return picture


def pictures_of(preprocessor: nn.Module, batch: Tensor) -> np.ndarray:
    """Undo the normalisation of a data preprocessor of any OpenMMLab library.

    Args:
        preprocessor: The preprocessor.
        batch: Normalised images (N, 3, H, W).

    Returns:
        Images (N, H, W, 3) uint8, RGB.
    """
    pixels = batch.detach().float()
    known: Any = preprocessor
    if getattr(known, "_enable_normalize", hasattr(known, "mean")):
        pixels = pixels * known.std + known.mean
    rgb = any(
        getattr(known, name, False)
        for name in ("_channel_conversion", "channel_conversion", "to_rgb")
    )
    pixels = pixels if rgb else pixels.flip(1)  # Images are loaded as BGR.
    pixels = pixels.round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def iterations_between(runner: Any, interval: int | None) -> int:
    """Return the number of iterations between two pictures of a training.

    Args:
        runner: Runner whose training loop is built.
        interval: Number of epochs, or of iterations if the training counts them; None for about
            ``PICTURES`` pictures in the whole training, at most one an epoch.
    """
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    total = runner.max_epochs if by_epoch else runner.max_iters
    every = interval or -(-total // PICTURES)
    if by_epoch:
        return max(every * len(runner.train_dataloader), 1)
    return every if interval else max(every, len(runner.train_dataloader))


def checked(hook: str, name: str, value: int) -> int:
    """Return a setting of a hook if it is a positive number.

    Raises:
        InputError: If it is not.
    """
    if value < 1:
        raise InputError(f"{hook} {name}={value}: set a number from 1, or remove the hook")
    return value


def _are_images(view: Tensor) -> bool:
    return view.dim() == 4 and view.shape[1] == 3


def _inner(runner: Any) -> Any:
    dataset = runner.train_dataloader.dataset
    while not hasattr(dataset, "pipeline") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset
