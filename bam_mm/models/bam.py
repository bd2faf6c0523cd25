"""The algorithm: wiring of backbone, projector, teacher and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.model import BaseModel
from mmpretrain.models import BaseSelfSupervisor, MoCoV3ViT
from torch import Tensor, nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.compilation import compile_blocks as compile_each_block
from bam_mm.models.teacher import MomentumTeacher
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class BAM(BaseSelfSupervisor):
    """Balanced Self-Attention Matching (Shalam and Korman, ECCV 2024, arXiv 2408.02014).

    Args:
        backbone: Config of the backbone; its last output is a feature (N, C) or a map.
        neck: Config of the projector.
        head: Config of :class:`~bam_mm.models.head.BAMHead`.
        layout: The views; the same as the pipeline's and the preprocessor's.
        use_teacher: Whether a momentum teacher gives the target. Without, the student does.
        teacher_views: ``global``: the teacher sees the global views only (the paper's square
            matrix); ``all``: every view, as the released code does.
        activation_checkpointing: Whether the student's blocks are computed again in the backward
            pass instead of kept: less memory, for one more forward pass of the student.
        compile_blocks: Whether ``torch.compile`` compiles the blocks of student and teacher, or a
            dict of its options. mmengine's ``compile`` of the whole step falls into dozens of
            graphs; this makes one a kind of block and resolution.
        data_preprocessor: Config of the preprocessor.
        init_cfg: For ``BaseModule``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        layout: ViewLayout | Mapping,
        use_teacher: bool = True,
        teacher_views: str = "global",
        activation_checkpointing: bool = False,
        compile_blocks: bool | dict = False,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if teacher_views not in ("global", "all"):
            raise InputError(f"model.teacher_views={teacher_views!r}: choose 'global' or 'all'")
        if isinstance(self.backbone, MoCoV3ViT):
            # It fixes its position embedding in init_weights only, and mmengine calls that after
            # DistributedDataParallel has noted which parameters will get a gradient.
            self.backbone.pos_embed.requires_grad_(False)
        self.layout = ViewLayout.of(layout)
        self.teacher_views = teacher_views
        self.teacher = MomentumTeacher(self.backbone, self.neck) if use_teacher else None
        if compile_blocks is not False:
            options = {} if compile_blocks is True else compile_blocks
            for branch in ("student", "teacher") if use_teacher else ("student",):
                compile_each_block(self.branch(branch), options)
        if activation_checkpointing:
            # After the teacher's copy was made: it runs without gradients and keeps nothing.
            checkpoint_blocks(self.backbone)
        self.last_projection: Tensor | None = None

    def init_weights(self) -> None:
        """Initialise the student; the teacher starts as its copy."""
        super().init_weights()
        if self.teacher is not None:
            self.teacher.copy_from(self.backbone, self.neck)

    def branch(self, name: str) -> nn.Module:
        """Backbone of ``student`` or ``teacher``.

        Raises:
            InputError: If there is no such branch.
        """
        if name == "student":
            return self.backbone
        if name == "teacher" and self.teacher is not None:
            return self.teacher.backbone
        raise InputError(
            f"branch {name!r} does not exist here: this model has a student"
            f"{'' if self.teacher is None else ' and a teacher'}"
        )

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs: V tensors (B, 3, H, W), in the layout's order.
            data_samples: Not needed.

        Returns:
            ``loss``: a scalar.
        """
        if len(inputs[0]) < 2:
            raise InputError(
                f"a batch of {len(inputs[0])} image a process: BAM attends to the other images of "
                "the batch; set train_dataloader.batch_size to 2 at least, better hundreds"
            )
        features = [
            _last(self.backbone(torch.cat(inputs[views]))) for views in self.layout.resolutions
        ]
        student = self.neck(torch.cat(features))
        self.last_projection = student.detach()
        return {"loss": self.head(student, self._target(inputs), self.layout)}

    @torch.no_grad()
    def _target(self, inputs: list[Tensor]) -> Tensor | None:
        if self.teacher is None:
            return None
        num_global = self.layout.num_global
        groups = [slice(0, num_global)]
        if self.teacher_views == "all":
            groups = self.layout.resolutions
        return torch.cat([self.teacher(torch.cat(inputs[views])) for views in groups])

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student; nothing without a teacher."""
        if self.teacher is not None:
            self.teacher.update(self.backbone, self.neck, momentum)


def bam_of(model: nn.Module) -> BAM:
    """The :class:`BAM` inside a possibly wrapped model.

    Raises:
        InputError: If it is another algorithm.
    """
    inner = unwrap_model(model)
    if not isinstance(inner, BAM):
        raise InputError(
            f"this hook needs model=dict(type='bam_mm.BAM'), not {type(inner).__name__}: remove "
            "the hook from the config, or change the model"
        )
    return inner


def features_of(backbone: BaseModel | nn.Module, images: Tensor) -> Tensor:
    """One vector an image: the backbone's last output, maps averaged over space.

    Args:
        backbone: Any backbone of mmpretrain's kind.
        images: (N, 3, H, W), normalised.

    Returns:
        (N, C) float32.
    """
    return _last(backbone(images)).float()


def _last(feature: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A backbone's last output, as a vector an image where it is a map."""
    if isinstance(feature, (tuple, list)):
        feature = feature[-1]
    return feature.mean(dim=(2, 3)) if feature.ndim == 4 else feature
