"""Visual words: a tokenizer for BEiT on images too small for the published one."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.methods.library import check_counts
from bam_mm.registry import MODELS

BATCH = 4096
"""Number of patches in a step of k-means."""


@MODELS.register_module()
class VisualWords(BaseModule):
    """Target generator for mmpretrain's ``BEiT`` whose tokens are k-means centroids of patches.

    **This is not BEiT's published tokenizer.** BEiT predicts the tokens of DALL-E's discrete VAE,
    which is trained on large images and sees 8x8 pixels for each token; there are no such weights
    for images of 32 pixels. Here, a token is the index of the nearest centroid of a patch's
    normalised pixels. Precedents are the k-means palette of iGPT (Chen et al., ICML 2020), for
    single pixels, and bags of visual words. Such words know colours and edges, no objects, and
    results with them say nothing about BEiT with its own tokenizer.

    :class:`~bam_mm.VisualWordsHook` fits the words before the training. They are buffers, so that
    a checkpoint holds them.

    Args:
        num_words: Number of words, the ``num_embed`` of ``BEiTV1Head``.
        patch_size: Side of a patch in pixels of the tokenizer's image, which must have as many
            patches as the backbone's.
        in_channels: Number of channels.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Attributes:
        words: (num_words, in_channels * patch_size^2) float32 centroids.
        fitted: Whether the words are fitted, a tensor of one bool.

    Raises:
        InputError: If a number is no count.
    """

    words: Tensor
    fitted: Tensor

    def __init__(
        self,
        num_words: int = 1024,
        patch_size: int = 4,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_counts(
            "model.target_generator",
            num_words=num_words,
            patch_size=patch_size,
            in_channels=in_channels,
        )
        self.patch_size = patch_size
        self.register_buffer("words", torch.zeros(num_words, in_channels * patch_size**2))
        self.register_buffer("fitted", torch.tensor(False))
        self._known_fitted = False

    @property
    def is_fitted(self) -> bool:
        """Whether the words are fitted."""
        # Reading a tensor waits for the device, so the answer yes is kept.
        self._known_fitted = self._known_fitted or bool(self.fitted)
        return self._known_fitted

    def set_words(self, words: Tensor) -> None:
        """Set the words.

        Args:
            words: (num_words, in_channels * patch_size^2) centroids.
        """
        self.words.copy_(words)
        self.fitted.fill_(True)

    def patches(self, images: Tensor) -> Tensor:
        """Return the pixels of all patches.

        Args:
            images: (B, C, H, W) normalised images, where H and W are multiples of ``patch_size``.

        Returns:
            (B, h, w, C * patch_size^2) patches, with the order of ``Tensor.unfold``.

        Raises:
            InputError: If the images are not made of whole patches.
        """
        side = self.patch_size
        if images.shape[2] % side or images.shape[3] % side:
            raise InputError(
                f"model.target_generator.patch_size={side}: the tokenizer's images of "
                f"{images.shape[3]}x{images.shape[2]} pixels (second_size) are not multiples of it"
            )
        cut = images.unfold(2, side, side).unfold(3, side, side)
        return cut.permute(0, 2, 3, 1, 4, 5).flatten(3)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Score all words for each patch; the nearest word has the largest score.

        Args:
            images: (B, C, H, W) normalised images.

        Returns:
            (B, num_words, h, w) float32 scores: minus half the squared distance of patch and word,
            without the part that is the same for all words.

        Raises:
            InputError: If the words are not fitted, or the images not made of whole patches.
        """
        if not self.is_fitted:
            raise InputError(
                "model.target_generator VisualWords is not fitted: add "
                "dict(type='bam_mm.VisualWordsHook') to custom_hooks, or load a checkpoint that "
                "holds its words"
            )
        # In 16 bits, near words would be confused.
        with torch.autocast(images.device.type, enabled=False):
            patches, words = self.patches(images.float()), self.words.float()
            scores = patches @ words.T - words.square().sum(dim=1) / 2
        return scores.permute(0, 3, 1, 2)


def fit_words(patches: np.ndarray, num_words: int, seed: int = 0) -> Tensor:
    """Compute words by mini-batch k-means.

    Args:
        patches: (n, d) float32 pixels of patches.
        num_words: Number of words.
        seed: Seed of k-means.

    Returns:
        (num_words, d) float32 centroids.

    Raises:
        InputError: If there are fewer different patches than words.
    """
    from sklearn.cluster import MiniBatchKMeans  # Slow to import.
    from sklearn.exceptions import ConvergenceWarning

    different = len(np.unique(patches, axis=0)) if len(patches) >= num_words else len(patches)
    if different < num_words:
        raise InputError(
            f"{num_words} visual words need as many different patches, but the images have "
            f"{different}: raise num_images of VisualWordsHook, or lower num_words of "
            "model.target_generator and num_embed of model.head"
        )
    kmeans = MiniBatchKMeans(
        num_words, batch_size=BATCH, n_init=1, random_state=seed, compute_labels=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(patches)
    return torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))
