"""Published numbers, which the report shows next to measured ones but never in the same table.

Only numbers with a known source are listed. They are top-1 accuracies in per cent, unless the name
of the column is that of another metric. A metric of a suite names its column with ``published=``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "BAM (arXiv 2408.02014)"
README = "README of BAM's released code"
IBOT = "via iBOT's paper"
MAE = "MAE's paper, plain Mask R-CNN and UPerNet"


@dataclass(frozen=True)
class Published:
    """Published numbers of one model from one source.

    Attributes:
        method: Pretraining method.
        backbone: Network that was pretrained.
        source: Paper or repository that reports the numbers.
        values: Numbers by column.
    """

    method: str
    backbone: str
    source: str
    values: Mapping[str, float]


def _transfer(*values: float) -> dict[str, float]:
    names = ("food101", "cifar10", "cifar100", "cars", "aircraft", "pets", "flowers")
    return {f"transfer.{name}": v for name, v in zip(names, values, strict=True)}


def _finetuned(**values: float) -> dict[str, float]:
    return {f"finetune.{name}": value for name, value in values.items()}


def _dense(box: float, mask: float, miou: float, macc: float | None = None) -> dict[str, float]:
    values = {"coco.box": box, "coco.mask": mask, "ade20k.miou": miou}
    return values if macc is None else {**values, "ade20k.macc": macc}


_SMALL, _BASE, _R50 = "ViT-S/16", "ViT-B/16", "ResNet-50"

PUBLISHED = (
    # Table 2
    Published("MoCo v3", _SMALL, IBOT, {"linear": 73.4}),
    Published("MoCo v3", _SMALL, "MoCo v3's repository", {"linear": 73.2}),
    Published("DINO, 300 epochs, 10 crops", _SMALL, PAPER, {"linear": 76.1}),
    Published("DINO, 300 epochs, 6 crops", _SMALL, "DINO's paper", {"linear": 75.9}),
    Published("DINO, 800 epochs", _SMALL, PAPER, {"linear": 77.0}),
    Published("MoCo v3", _BASE, PAPER, {"linear": 76.7}),
    Published("DINO", _BASE, PAPER, {"linear": 78.2}),
    Published("MAE", _BASE, PAPER, {"linear": 68.0}),
    Published("BAM", _BASE, README, {"linear": 78.1}),
    # Table 8
    Published("BAM", "CAFormer-M36", PAPER, {"linear": 78.9}),
    Published("BAM", "CAFormer-M36", README, {"linear": 79.3}),
    # Table 3
    Published("MoCo v3", _SMALL, PAPER, {"finetune": 81.4}),
    Published("MoCo v3", _BASE, PAPER, {"finetune": 83.2}),
    Published("DINO", _SMALL, IBOT, {"finetune": 82.0}),
    Published("DINO", _SMALL, "DINO's paper", {"finetune": 81.5}),
    Published("DINO", _BASE, IBOT, {"finetune": 83.6}),
    Published("DINO", _BASE, "DINO's paper", {"finetune": 82.8}),
    Published("BEiT", _BASE, "MAE's paper", {"finetune": 83.2}),
    Published("BEiT", _BASE, IBOT, {"finetune": 83.4}),
    Published("MAE", _BASE, PAPER, {"finetune": 83.6}),
    # Table 4
    Published("DINO, from the projection layer", _SMALL, PAPER, {"semi1": 60.3, "semi10": 74.3}),
    Published("DINO, plain", _SMALL, PAPER, {"semi1": 50.6, "semi10": 73.2}),
    Published("DINO, frozen logistic regression", _SMALL, PAPER, {"semi1": 64.5, "semi10": 72.2}),
    # Table 5, linear
    Published("SimCLR", _R50, PAPER, _transfer(68.4, 90.6, 71.6, 50.3, 50.3, 83.6, 91.2)),
    Published("BYOL", _R50, PAPER, _transfer(75.3, 91.3, 78.4, 67.8, 60.6, 90.4, 96.1)),
    Published("NNCLR", _R50, PAPER, _transfer(76.7, 93.7, 79.0, 67.1, 64.1, 91.8, 95.1)),
    Published("BAM", _R50, PAPER, _transfer(78.2, 94.3, 80.2, 65.9, 63.7, 88.3, 96.3)),
    # Table 5, fine-tuned
    Published(
        "supervised", _BASE, PAPER, _finetuned(cifar10=98.1, cifar100=87.1, pets=93.8, flowers=89.5)
    ),
    Published(
        "MoCo v3", _BASE, PAPER, _finetuned(cifar10=98.9, cifar100=90.5, pets=93.2, flowers=97.7)
    ),
    Published("DINO", _BASE, PAPER, _finetuned(cifar10=99.0, cifar100=91.7, flowers=98.8)),
    Published("DINO", _BASE, "DINO's paper", _finetuned(cifar10=99.1)),
    Published(
        "BAM", _BASE, PAPER, _finetuned(cifar10=99.0, cifar100=91.4, pets=93.9, flowers=97.9)
    ),
    # Table 6
    Published("DINO", _BASE, PAPER, {"davis.jf": 62.3, "davis.j": 60.7, "davis.f": 63.9}),
    Published("DINO", _SMALL, PAPER, {"davis.jf": 61.8, "davis.j": 60.2, "davis.f": 63.4}),
    # Table 7. BAM's own table seems to mix both protocols; its one readable cell has no column.
    Published("MoCo v3", _BASE, MAE, _dense(47.9, 42.7, 47.3)),
    Published("BEiT", _BASE, MAE, _dense(49.8, 44.4, 47.1)),
    Published("MAE", _BASE, MAE, _dense(50.3, 44.9, 48.1)),
    Published("BEiT", _BASE, "iBOT's paper, Cascade Mask R-CNN", _dense(50.1, 43.5, 45.8, 55.9)),
    Published("DINO", _BASE, "iBOT's paper, Cascade Mask R-CNN", _dense(50.1, 43.4, 46.8, 57.1)),
)


def published_rows(columns: list[str]) -> list[Published]:
    """Return the rows that have a number in at least one of the columns."""
    return [row for row in PUBLISHED if any(column in row.values for column in columns)]
