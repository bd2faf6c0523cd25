"""DINO: self-distillation with no labels (Caron et al., ICCV 2021, arXiv 2104.14294)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.methods.library import check_counts, check_positive, full_precision, lightly
from bam_mm.models.siamese import SiameseModel, pooled
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class DINO(SiameseModel):
    """DINO: the student predicts the teacher's distribution over prototypes for another view.

    The student sees all views, one pass for each resolution, and the teacher the global views, as
    in the authors' multi-crop wrapper. :class:`~bam_mm.TeacherUpdateHook` moves the teacher and
    :class:`~bam_mm.DINOScheduleHook` tells the head the epoch.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of :class:`DINOProjector`.
        head: Config of :class:`DINOHead`, with the projector's ``out_channels``.
        layout: Views of an image; the pipeline and the preprocessor must use the same layout.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.
    """

    compares_images = False

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        layout: ViewLayout | Mapping,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            layout=layout,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        widths = [getattr(part, "out_channels", None) for part in (self.neck, self.head)]
        if widths[0] != widths[1]:
            raise InputError(
                f"model.neck.out_channels={widths[0]} and model.head.out_channels={widths[1]}: set "
                "both to the same number of prototypes"
            )

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs: V tensors (B, 3, H, W), in the order of the layout.
            data_samples: Not used.

        Returns:
            Dict with the scalar ``loss``.
        """
        student = self.project(inputs)
        if isinstance(self.neck, DINOProjector):  # Not its tens of thousands of outputs.
            self.last_projection = self.neck.bottleneck
        with torch.no_grad():
            assert self.teacher is not None
            target = self.teacher(torch.cat(inputs[: self.layout.num_global]))
        return {"loss": self.head(student, target, self.layout)}


@MODELS.register_module()
class DINOProjector(BaseModule):
    """Projector of DINO: an MLP, L2 normalisation and a weight-normalised layer of prototypes.

    Args:
        in_channels: Width of the backbone's output.
        hid_channels: Width of the hidden layers.
        bottleneck_channels: Width of the MLP's output, before the prototypes.
        out_channels: Number of prototypes (paper: 65,536).
        num_layers: Number of linear layers of the MLP, at least 2 (paper: 3).
        norm: Whether BatchNorm follows the hidden layers, as for a ResNet.
        norm_last_layer: Whether the prototypes have unit length throughout the training.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Attributes:
        bottleneck: (N, bottleneck_channels) unit vectors of the last pass, without a gradient.

    Raises:
        InputError: If lightly is not installed, or a width is no count, or ``num_layers`` is less
            than 2.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int = 2048,
        bottleneck_channels: int = 256,
        out_channels: int = 65536,
        num_layers: int = 3,
        norm: bool = False,
        norm_last_layer: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_counts(
            "model.neck",
            in_channels=in_channels,
            hid_channels=hid_channels,
            bottleneck_channels=bottleneck_channels,
            out_channels=out_channels,
            num_layers=num_layers,
        )
        if num_layers < 2:
            raise InputError(f"model.neck.num_layers={num_layers}: DINO's projector has at least 2")
        self.out_channels = out_channels
        self.bottleneck: Tensor | None = None
        self.head = lightly("models.modules.heads", "DINOProjectionHead", "DINOProjector")(
            in_channels,
            hid_channels,
            bottleneck_channels,
            out_channels,
            batch_norm=norm,
            norm_last_layer=norm_last_layer,
        )
        if num_layers != 3:
            widths = [in_channels, *[hid_channels] * (num_layers - 1)]
            blocks: list[tuple] = [
                (before, after, nn.BatchNorm1d(after) if norm else None, nn.GELU())
                for before, after in pairwise(widths)
            ]
            blocks.append((hid_channels, bottleneck_channels, None, None))
            kind = lightly("models.modules.heads", "ProjectionHead", "DINOProjector")
            self.head.layers = kind(blocks).layers
            self.head.layers.apply(self.head._init_weights)

    def __deepcopy__(self, memo: dict) -> DINOProjector:
        # torch refuses to copy the weight that weight_norm computes, since it has a gradient; the
        # copy computes its own in its first pass.
        computed = self.last_layer.__dict__.pop("weight", None)
        self.bottleneck = None
        try:
            twin = type(self).__new__(type(self))
            memo[id(self)] = twin
            twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        finally:
            if computed is not None:
                self.last_layer.weight = computed
        return twin

    @property
    def last_layer(self) -> nn.Module:
        """The layer of prototypes."""
        return self.head.last_layer

    def forward(self, x: tuple[Tensor, ...] | Tensor) -> Tensor:
        """Project features.

        Args:
            x: (N, C) features, or (N, C, H, W) maps, which are averaged over H and W, or a tuple
                whose last entry is one of these.

        Returns:
            (N, out_channels) similarities to the prototypes.
        """
        rows = nn.functional.normalize(self.head.layers(pooled(x)), dim=-1)
        self.bottleneck = rows.detach()
        return self.last_layer(rows)


@MODELS.register_module()
class DINOHead(BaseModule):
    """The loss of DINO: cross-entropy between centred teacher and student.

    Args:
        out_channels: Number of prototypes, the projector's.
        temperature: Softmax temperature of the student.
        target_temperature: Softmax temperature of the teacher.
        warmup_target_temperature: Its value in the first epoch; it then changes linearly.
        warmup_epochs: Number of epochs of that change; 0 for none.
        centre_momentum: Weight of the old centre in its moving average.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Attributes:
        epoch: Current epoch, from 0, which :class:`~bam_mm.DINOScheduleHook` sets.
        monitor: Set to True to have ``entropies`` computed in the next calls.
        entropies: Scalars ``attention_entropy``, of the student's distribution over prototypes,
            and ``target_entropy``, of the teacher's (nats, mean over rows), of the last call.

    Raises:
        InputError: If lightly is not installed, or a setting is out of range.
    """

    def __init__(
        self,
        out_channels: int = 65536,
        temperature: float = 0.1,
        target_temperature: float = 0.04,
        warmup_target_temperature: float = 0.04,
        warmup_epochs: int = 0,
        centre_momentum: float = 0.9,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_counts("model.head", out_channels=out_channels)
        check_positive(
            "model.head",
            temperature=temperature,
            target_temperature=target_temperature,
            warmup_target_temperature=warmup_target_temperature,
        )
        if not 0 <= centre_momentum < 1:
            raise InputError(
                f"model.head.centre_momentum={centre_momentum}: must be at least 0 and below 1"
            )
        if warmup_epochs:
            check_counts("model.head", warmup_epochs=warmup_epochs)
        self.out_channels = out_channels
        self.epoch = 0
        self.monitor = False
        self.entropies: dict[str, Tensor] = {}
        self.target_temperatures = [
            *np.linspace(warmup_target_temperature, target_temperature, warmup_epochs),
            np.float64(target_temperature),
        ]
        self.loss_module = lightly("loss", "DINOLoss", "DINOHead")(
            output_dim=out_channels,
            student_temp=temperature,
            center_momentum=centre_momentum,
        )

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor, layout: ViewLayout) -> Tensor:
        """Compute the loss and move the centre.

        Args:
            student: (V * B, K) outputs of all views, view-major.
            teacher: (G * B, K) outputs of the global views.
            layout: Number of global and local views.

        Returns:
            Scalar loss.
        """
        if self.monitor:
            self.entropies = self._entropies(student, teacher)
        targets = list(teacher.chunk(layout.num_global))
        predictions = list(student.chunk(layout.num_views))
        return self.loss_module(targets, predictions, teacher_temp=self.target_temperature)

    @property
    def target_temperature(self) -> np.float64:
        """Softmax temperature of the teacher in this epoch.

        It is a number of numpy, since lightly would round one of Python to float32.
        """
        return self.target_temperatures[min(self.epoch, len(self.target_temperatures) - 1)]

    @torch.no_grad()
    def _entropies(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        loss: Any = self.loss_module
        targets = (teacher - loss.center[0]) / float(self.target_temperature)
        return {
            "attention_entropy": _entropy(student / loss.student_temp),
            "target_entropy": _entropy(targets),
        }


def _entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy of the rows' softmax, in nats."""
    log = logits.log_softmax(dim=1)
    return -(log.exp() * log).sum(dim=1).mean()
