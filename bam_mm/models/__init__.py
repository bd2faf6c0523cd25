"""Models; importing this package registers them."""

from bam_mm.models.bam import BAM
from bam_mm.models.caformer import CAFormer
from bam_mm.models.classifier import ImageClassifier
from bam_mm.models.dense_backbone import DenseBackbone
from bam_mm.models.dense_resnet import DenseResNet
from bam_mm.models.dense_timm import DenseCAFormer, DenseTIMM
from bam_mm.models.dense_vit import DenseViT
from bam_mm.models.evaluation_wrapper import EvaluationWrapper
from bam_mm.models.frozen_features import FrozenFeatures
from bam_mm.models.frozen_maps import FrozenMaps
from bam_mm.models.full_precision import ToFloat32
from bam_mm.models.head import BAMHead
from bam_mm.models.label_propagation import LabelPropagation
from bam_mm.models.linear_probe import FrozenBackboneClassifier
from bam_mm.models.many_probes import ManyLinearProbes
from bam_mm.models.pooling import PoolFeatures
from bam_mm.models.preprocessor import MultiViewPreprocessor
from bam_mm.models.pretrained_backbone import PretrainedBackbone
from bam_mm.models.projector import BAMProjector
from bam_mm.models.siamese import SiameseModel
from bam_mm.models.teacher import MomentumTeacher, momentum_at
from bam_mm.models.torchvision_backbone import TorchvisionBackbone

__all__ = [
    "BAM",
    "BAMHead",
    "BAMProjector",
    "CAFormer",
    "DenseBackbone",
    "DenseCAFormer",
    "DenseResNet",
    "DenseTIMM",
    "DenseViT",
    "EvaluationWrapper",
    "FrozenBackboneClassifier",
    "FrozenFeatures",
    "FrozenMaps",
    "ImageClassifier",
    "LabelPropagation",
    "ManyLinearProbes",
    "MomentumTeacher",
    "MultiViewPreprocessor",
    "PoolFeatures",
    "PretrainedBackbone",
    "SiameseModel",
    "ToFloat32",
    "TorchvisionBackbone",
    "momentum_at",
]
