"""Projector between backbone and loss."""

from __future__ import annotations

from mmengine.model import BaseModule
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import Tensor, nn

from bam_mm.registry import MODELS


@MODELS.register_module()
class BAMProjector(BaseModule):
    """Multi-layer perceptron of BAM (section 4.1): 3 layers with hidden and output width 4096.

    With a teacher, the paper uses GELU for ViT and ReLU for ResNet, biases, and no normalisation.
    Without a teacher, BatchNorm follows every layer, the last one without affine parameters.
    mmpretrain's ``NonLinearNeck`` supports neither GELU nor layers without normalisation.

    Args:
        in_channels: Width of the backbone's output.
        hid_channels: Width of the hidden layers.
        out_channels: Width of the output.
        num_layers: Number of linear layers, at least 1.
        act_cfg: Config of the activation between the layers; None is GELU.
        norm: Whether BatchNorm follows each hidden layer, which then has no bias.
        last_norm: Whether BatchNorm without affine parameters follows the last layer; None is the
            value of ``norm``.
        init_cfg: Config of ``BaseModule``'s initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 4096,
        out_channels: int = 4096,
        num_layers: int = 3,
        act_cfg: dict | None = None,
        norm: bool = False,
        last_norm: bool | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        widths = [in_channels, *[hid_channels] * (num_layers - 1), out_channels]
        layers: list[nn.Module] = []
        for index in range(num_layers):
            last = index == num_layers - 1
            normed = last_norm if last and last_norm is not None else norm
            layers.append(nn.Linear(widths[index], widths[index + 1], bias=not normed))
            if normed:
                layers.append(nn.BatchNorm1d(widths[index + 1], affine=not last))
            if not last:
                layers.append(MMENGINE_MODELS.build(act_cfg or dict(type="GELU")))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: tuple[Tensor, ...] | Tensor) -> Tensor:
        """Project features.

        Args:
            x: (N, C) features, or (N, C, H, W) maps, which are averaged over H and W, or a tuple
                whose last entry is one of these.

        Returns:
            (N, out_channels) projections.
        """
        if isinstance(x, (tuple, list)):
            x = x[-1]
        if x.ndim == 4:
            x = x.mean(dim=(2, 3))
        return self.layers(x)
