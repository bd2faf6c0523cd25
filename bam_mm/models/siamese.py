"""What self-supervised algorithms over several views share: student, momentum teacher, branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.models import BaseSelfSupervisor, MoCoV3ViT
from torch import Tensor, nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.teacher import MomentumTeacher
from bam_mm.models.whole_images import forward_whole, vector_of_tokens
from bam_mm.views import ViewLayout


class SiameseModel(BaseSelfSupervisor):
    """Backbone and neck that see several views of an image, with an optional momentum teacher.

    A subclass computes its loss from the projections. The hooks of this package (teacher update,
    collapse monitor, online kNN, boxes) only use what is defined here.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector.
        head: Config of the head, which holds the loss; None for a loss without settings.
        layout: Views of an image; the pipeline and the preprocessor must use the same layout.
        use_teacher: Whether there is a momentum teacher, a moving average of backbone and neck.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Attributes:
        last_projection: (N, D) projections of the student in the last step, without a gradient.
    """

    compares_images = True
    """Whether the loss compares the images of a batch, which must then have at least two."""

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict | None,
        layout: ViewLayout | Mapping,
        use_teacher: bool = True,
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
        if isinstance(self.backbone, MoCoV3ViT):
            # MoCoV3ViT freezes its position embedding in init_weights, which mmengine calls after
            # DistributedDataParallel has recorded the parameters that will get a gradient.
            self.backbone.pos_embed.requires_grad_(False)
        self.layout = ViewLayout.of(layout)
        self.teacher = MomentumTeacher(self.backbone, self.neck) if use_teacher else None
        self.last_projection: Tensor | None = None

    def init_weights(self) -> None:
        """Initialise the student and copy its weights to the teacher."""
        super().init_weights()
        if self.teacher is not None:
            self.teacher.copy_from(self.backbone, self.neck)

    def check_batch(self, inputs: list[Tensor]) -> None:
        """Check that the images of a batch can be compared.

        Args:
            inputs: V tensors (B, 3, H, W).

        Raises:
            InputError: If the batch has a single image, and the loss compares images.
        """
        if self.compares_images and len(inputs[0]) < 2:
            raise InputError(
                f"a batch of {len(inputs[0])} image per process: {type(self).__name__} compares it "
                "with the other images of the batch; set train_dataloader.batch_size to at least "
                "2, preferably hundreds"
            )

    def check_two_views(self) -> None:
        """Check that there are two global views and no others.

        Raises:
            InputError: If there are other views.
        """
        if self.layout.num_global != 2 or self.layout.num_local:
            raise InputError(
                f"{type(self).__name__} with layout.num_global={self.layout.num_global} and "
                f"layout.num_local={self.layout.num_local}: set them to 2 and 0, since it compares "
                "two views"
            )

    def project(self, inputs: list[Tensor]) -> Tensor:
        """Project all views with the student, one pass of the backbone for each resolution.

        The neck gets feature vectors: maps of several sizes are averaged before.

        Args:
            inputs: V tensors (B, 3, H, W), in the order of the layout.

        Returns:
            (V * B, D) projections, view-major.
        """
        features = [
            pooled(self.backbone(torch.cat(inputs[views]))) for views in self.layout.resolutions
        ]
        projections = neck_output(self.neck((torch.cat(features),)))
        self.last_projection = projections.detach()
        return projections

    def project_each(self, inputs: list[Tensor]) -> list[Tensor]:
        """Project each view with the student in a pass of its own, as BatchNorm then sees it.

        Args:
            inputs: V tensors (B, 3, H, W).

        Returns:
            V projections (B, D).
        """
        projections = [neck_output(self.neck(self.backbone(view))) for view in inputs]
        self.last_projection = torch.cat(projections).detach()
        return projections

    @torch.no_grad()
    def project_each_by_teacher(self, inputs: list[Tensor]) -> list[Tensor]:
        """Project each view with the teacher in a pass of its own.

        Args:
            inputs: V tensors (B, 3, H, W).

        Returns:
            V projections (B, D) without a gradient.
        """
        assert self.teacher is not None
        return [neck_output(self.teacher(view)) for view in inputs]

    def branch(self, name: str) -> nn.Module:
        """Return the backbone of a branch.

        Args:
            name: Name of the branch, ``student`` or ``teacher``.

        Raises:
            InputError: If the model has no such branch.
        """
        if name == "student":
            return self.backbone
        if name == "teacher" and self.teacher is not None:
            return self.teacher.backbone
        raise InputError(
            f"branch {name!r} does not exist: this model has a student"
            f"{'' if self.teacher is None else ' and a teacher'}"
        )

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of images with the teacher's backbone, as downstream tasks do.

        mmpretrain's ``FeatureExtractor`` and tools call this. The training does not.

        Args:
            inputs: (N, 3, H, W) normalised images.

        Returns:
            The outputs of the teacher's backbone; those of the student's without a teacher.
        """
        return self.branch("student" if self.teacher is None else "teacher")(inputs)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student; do nothing without a teacher.

        Args:
            momentum: Weight of the teacher in the moving average, in [0, 1].
        """
        if self.teacher is not None:
            self.teacher.update(self.backbone, self.neck, momentum)


def siamese_of(model: nn.Module) -> SiameseModel:
    """Return the :class:`SiameseModel` inside a possibly wrapped model.

    Args:
        model: The model or its wrapper.

    Raises:
        InputError: If the model is another algorithm.
    """
    inner = unwrap_model(model)
    if not isinstance(inner, SiameseModel):
        raise InputError(
            "this part of the config needs model=dict(type='bam_mm.BAM') or another method of this "
            f"package, not {type(inner).__name__}: remove it from the config or change the model"
        )
    return inner


def features_of(backbone: BaseModel | nn.Module, images: Tensor) -> Tensor:
    """Compute one feature vector per image: the backbone's last output, averaged if it is a map.

    Of tokens, it is [CLS], or for BEiT the mean of the patches. No patch is hidden, also by
    backbones whose pretraining hides some (:mod:`bam_mm.models.whole_images`).

    Args:
        backbone: Backbone with the interface of mmpretrain's.
        images: (N, 3, H, W) normalised images.

    Returns:
        (N, C) float32 features.
    """
    feature = pooled(forward_whole(backbone, images))
    return (vector_of_tokens(backbone, feature) if feature.ndim == 3 else feature).float()


def pooled(feature: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return a backbone's last output; a map is averaged over space."""
    if isinstance(feature, (tuple, list)):
        feature = feature[-1]
    return feature.mean(dim=(2, 3)) if feature.ndim == 4 else feature


def neck_output(output: Any) -> Tensor:
    """Return the projections of a neck, which mmpretrain's necks return in a tuple."""
    return output[0] if isinstance(output, (tuple, list)) else output
