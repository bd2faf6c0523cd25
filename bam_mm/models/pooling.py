"""Neck that pools what a backbone of any library returns into one vector per image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.registry import MODELS

LAYOUTS = ("NC", "NCHW", "NHWC", "NLC", "NCL")
"""Orders of dimensions: images N, channels C, height H and width W, or tokens L."""


@MODELS.register_module()
class PoolFeatures(nn.Module):
    """Average a map or tokens over all positions, or take one token.

    Args:
        layout: Order of the dimensions of the backbone's output, one of :data:`LAYOUTS`. timm's
            Swin returns ``NHWC``; a vector, ``NC``, stays as it is. The adapter of a backbone
            states it (:meth:`~bam_mm.models.adapters.contract.BackboneAdapter.layout`).
        width: Number of channels that the backbone returns.
        prefix: Number of tokens in front of the patches, which the average leaves out.
        token: Index of the token to take, such as 0 for [CLS]; None averages.

    Raises:
        InputError: If ``layout`` is unknown, or tokens are to be taken from a map.
    """

    def __init__(self, layout: str, width: int, prefix: int = 0, token: int | None = None) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise InputError(f"neck.layout={layout!r}: choose one of {', '.join(LAYOUTS)}")
        if (prefix or token is not None) and layout != "NLC":
            raise InputError(
                f"neck.prefix={prefix}, neck.token={token} with neck.layout={layout!r}: only "
                "'NLC' has tokens to leave out or to take"
            )
        self.layout, self.width, self.prefix, self.token = layout, width, prefix, token

    def forward(self, inputs: Sequence[Tensor] | Tensor) -> tuple[Tensor, ...]:
        """Pool the last output of a backbone.

        Args:
            inputs: Output of the backbone, or several, of which the last one is used.

        Returns:
            Tuple of one (N, width) tensor.

        Raises:
            InputError: If the output has another number of dimensions or channels.
        """
        x = inputs if isinstance(inputs, Tensor) else inputs[-1]
        channels = self.layout.index("C")
        if x.ndim != len(self.layout) or x.shape[channels] != self.width:
            raise InputError(
                f"PoolFeatures gets {tuple(x.shape)}, but neck.layout={self.layout!r} with "
                f"neck.width={self.width} is set: set both to what the backbone returns"
            )
        if self.token is not None:
            return (x[:, self.token],)
        if self.prefix:
            x = x[:, self.prefix :]
        places = [dim for dim in range(1, x.ndim) if dim != channels]
        return (x.mean(dim=places) if places else x,)

    def extra_repr(self) -> str:
        """Return the settings, for the model's description."""
        return f"layout={self.layout}, width={self.width}, prefix={self.prefix}, token={self.token}"
