"""The BAM algorithm: backbone, projector, teacher and loss put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.compilation import compile_blocks as compile_each_block
from bam_mm.models.head import BAMHead
from bam_mm.models.siamese import SiameseModel
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class BAM(SiameseModel):
    """Balanced Self-Attention Matching (Shalam and Korman, ECCV 2024, arXiv 2408.02014).

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector.
        head: Config of :class:`~bam_mm.models.head.BAMHead`.
        layout: Views of an image; the pipeline and the preprocessor must use the same layout.
        use_teacher: Whether a momentum teacher provides the target. If not, the student does.
        teacher_views: Views that the teacher sees: ``global`` for the global views only (the
            paper's square matrix), or ``all`` for every view, as in the released code. The head's
            ``target_views="all"`` needs ``all``.
        activation_checkpointing: Whether the student's blocks recompute their activations in the
            backward pass instead of storing them. This saves memory and costs one more forward
            pass of the student.
        compile_blocks: Whether ``torch.compile`` compiles the blocks of student and teacher, or a
            dict of its options. mmengine's ``compile`` of the whole step breaks into dozens of
            graphs; this option makes one graph per kind of block and resolution.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If ``teacher_views`` is unknown, or the head takes targets from local views that
            the teacher does not see.
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
            layout=layout,
            use_teacher=use_teacher,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if teacher_views not in ("global", "all"):
            raise InputError(f"model.teacher_views={teacher_views!r}: choose 'global' or 'all'")
        self.teacher_views = teacher_views
        self._check_targets(use_teacher)
        if compile_blocks is not False:
            options = {} if compile_blocks is True else compile_blocks
            for branch in ("student", "teacher") if use_teacher else ("student",):
                compile_each_block(self.branch(branch), options)
        if activation_checkpointing:
            # Only after the teacher was copied: it runs without gradients and stores nothing.
            checkpoint_blocks(self.backbone)

    def _check_targets(self, use_teacher: bool) -> None:
        """Check that the teacher sees every view whose rows the head takes as targets."""
        if not isinstance(self.head, BAMHead) or self.head.settings.target_views != "all":
            return
        if use_teacher and self.layout.num_local and self.teacher_views != "all":
            raise InputError(
                f"model.head.target_views='all' with model.teacher_views={self.teacher_views!r}: "
                f"the teacher does not see the {self.layout.num_local} local views that are to be "
                "targets; set model.teacher_views='all', or model.head.target_views='global'"
            )

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs: V tensors (B, 3, H, W), in the order of the layout.
            data_samples: Not used.

        Returns:
            Dict with the scalar ``loss``.

        Raises:
            InputError: If the batch has a single image.
        """
        self.check_batch(inputs)
        student = self.project(inputs)
        return {"loss": self.head(student, self._target(inputs), self.layout)}

    @torch.no_grad()
    def _target(self, inputs: list[Tensor]) -> Tensor | None:
        if self.teacher is None:
            return None
        num_global = self.layout.num_global
        groups: Sequence[slice] = [slice(0, num_global)]
        if self.teacher_views == "all":
            groups = self.layout.resolutions
        return torch.cat([self.teacher(torch.cat(inputs[views])) for views in groups])
