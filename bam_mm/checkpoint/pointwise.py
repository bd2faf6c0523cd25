"""Linear layers that another variant of a network has as convolutions of one pixel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def reshape_pointwise(wanted: Mapping[str, Tensor], found: dict[str, Tensor]) -> str:
    """Reshape the weights of linear layers to those of convolutions of one pixel, and back.

    timm replaces one by the other where it removes the pooling before a classifier.

    Args:
        wanted: Tensors of the backbone by name.
        found: Tensors of the file by their names in the backbone, changed in place: (O, I) becomes
            (O, I, 1, 1) if the backbone has this shape, and (O, I, 1, 1) becomes (O, I).

    Returns:
        Description of the change, ``""`` if nothing was reshaped.
    """
    names = [
        name
        for name, own in wanted.items()
        if name in found
        and {own.ndim, found[name].ndim} == {2, 4}
        and own.shape[:2] == found[name].shape[:2]
        and own.numel() == found[name].numel()
    ]
    for name in names:
        found[name] = found[name].reshape(wanted[name].shape)
    return f"reshaped {', '.join(names)} (linear layer, convolution of one pixel)" if names else ""
