"""The drop path rate of networks of torchvision, which their builders set."""

from __future__ import annotations

from torch import nn
from torchvision.ops import StochasticDepth

_RATIO = "_bam_mm_ratio"


def scale_drop_path(network: nn.Module, rate: float) -> bool:
    """Set the drop path rate of a built network, also from or to 0.

    Args:
        network: Network whose blocks have torchvision's ``StochasticDepth``; changed in place.
        rate: Rate of the block with the largest one, the last of torchvision's networks. The
            others keep their ratio to it, which is that of the first call.

    Returns:
        Whether the network has a drop path; False if it was built with none, or a rate of 0.
    """
    depths = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    largest = max((depth.p for depth in depths), default=0.0)
    if depths and not hasattr(depths[0], _RATIO):
        if not largest:
            return False
        for depth in depths:
            setattr(depth, _RATIO, depth.p / largest)
    for depth in depths:
        depth.p = rate * getattr(depth, _RATIO)
    return bool(depths)
