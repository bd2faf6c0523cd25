"""Fitting BEiT's visual words before the training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bam_mm.data.seeding import EpochClock, seeded_sample
from bam_mm.distributed import gather_objects, rank, unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.methods.library import check_counts
from bam_mm.methods.visual_words import VisualWords, fit_words
from bam_mm.registry import HOOKS

BATCH = 256
"""Number of images that are preprocessed at a time."""


@HOOKS.register_module()
class VisualWordsHook(ModelHook):
    """Fit the words of :class:`~bam_mm.methods.visual_words.VisualWords` on training images.

    The first process runs the training pipeline on images that are spread evenly over the training
    set, with draws that depend on ``seed`` only, and sends the words to the others. The words of a
    resumed or loaded checkpoint are kept.

    Args:
        num_images: Number of images; all of a smaller training set.
        seed: Seed of the crops and of k-means.

    Raises:
        InputError: If ``num_images`` is no count.
    """

    priority = "HIGH"

    def __init__(self, num_images: int = 5000, seed: int = 0) -> None:
        check_counts("VisualWordsHook", num_images=num_images)
        self.num_images, self.seed = num_images, seed

    def before_train(self, runner) -> None:
        """Fit the words, unless they are fitted already.

        Raises:
            InputError: If the model's target generator is another one, the head predicts another
                number of words, or the images have too few patches or another grid of patches than
                the masks.
        """
        model: Any = unwrap_model(runner.model)
        tokenizer = getattr(model, "target_generator", None)
        if not isinstance(tokenizer, VisualWords):
            raise InputError(
                "VisualWordsHook needs model.target_generator=dict(type='bam_mm.VisualWords'), not "
                f"{type(tokenizer).__name__}: remove the hook from custom_hooks"
            )
        _check_head(model.head, len(tokenizer.words))
        if tokenizer.is_fitted:
            return
        found: dict[str, Any] = {"words": None, "error": ""}
        if rank() == 0:
            try:
                patches = self._patches(runner, model, tokenizer)
                found["words"] = fit_words(patches.numpy(), len(tokenizer.words), self.seed)
                runner.logger.info(
                    f"visual words: {len(tokenizer.words)} words from {len(patches):,} patches"
                )
            except InputError as error:  # All processes stop with the same message.
                found["error"] = str(error)
        # Every process waits here for the first one.
        found = gather_objects(found)[0]
        if found["error"]:
            raise InputError(found["error"])
        tokenizer.set_words(found["words"])

    def _patches(self, runner, model: Any, tokenizer: VisualWords) -> Tensor:
        loader = runner.train_dataloader
        count = min(self.num_images, len(loader.dataset))
        chosen = torch.linspace(0, len(loader.dataset) - 1, count).round().long().tolist()
        clock = EpochClock()
        clock.set(self.seed, 0)
        parts = []
        for first in range(0, count, BATCH):
            samples = []
            for index in chosen[first : first + BATCH]:
                with seeded_sample(clock, index):
                    samples.append(loader.dataset[index])
            batch = model.data_preprocessor(loader.collate_fn(samples), True)
            patches = tokenizer.patches(batch["inputs"][1]).cpu()
            _check_grid(patches, batch["data_samples"][0].mask)
            parts.append(patches.flatten(0, 2))
        return torch.cat(parts)


def _check_head(head: Any, num_words: int) -> None:
    predicted = getattr(getattr(head, "cls_head", None), "out_features", num_words)
    if predicted != num_words:
        raise InputError(
            f"model.head.num_embed={predicted}, but model.target_generator.num_words={num_words}: "
            "set both to the same number of words"
        )


def _check_grid(patches: Tensor, mask: Tensor) -> None:
    grid = tuple(patches.shape[1:3])
    if grid != tuple(mask.shape[-2:]):
        raise InputError(
            f"the tokenizer's images have {grid[0]}x{grid[1]} patches, but the masks "
            f"{mask.shape[-2]}x{mask.shape[-1]}: choose second_size of the crop so that it is "
            "input_size of the mask times model.target_generator.patch_size"
        )
