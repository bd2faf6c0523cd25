"""The seven transfer data sets, with the splits of BYOL's Table 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS

from bam_mm.data.checks.known import check_data
from bam_mm.data.subsets import stratified_split
from bam_mm.errors import InputError
from bam_mm.registry import DATASETS

SPLIT_SEED = 0
"""Seed of the validation splits that the source data lacks."""

SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True)
class TransferData:
    """A transfer data set.

    Attributes:
        kind: Name of mmpretrain's class.
        num_classes: Number of classes.
        sizes: Numbers of images in train, val and test (BYOL, Grill et al. 2020, Table 10).
        metric: Accuracy to report, ``top1`` or ``mean per-class``.
        official: Names of train, val and trainval in mmpretrain's class. None stands for a part
            that the source lacks, which is split off from trainval with a fixed seed.
    """

    kind: str
    num_classes: int
    sizes: tuple[int, int, int]
    metric: str
    official: tuple[str | None, str | None, str] = (None, None, "train")

    def name_of(self, split: str) -> str:
        """Return the name of a split with its origin: official, or our own split of the data."""
        if split in ("train", "val") and self.official[SPLITS.index(split)] is None:
            return f"{split} (our balanced split, seed {SPLIT_SEED})"
        return f"{split} (official)"


TRANSFER = {
    "food101": TransferData("Food101", 101, (68175, 7575, 25250), "top1"),
    "cifar10": TransferData("CIFAR10", 10, (45000, 5000, 10000), "top1"),
    "cifar100": TransferData("CIFAR100", 100, (44933, 5067, 10000), "top1"),
    "cars": TransferData("StanfordCars", 196, (6494, 1650, 8041), "top1"),
    "aircraft": TransferData(
        "FGVCAircraft", 100, (3334, 3333, 3333), "mean per-class", ("train", "val", "trainval")
    ),
    "pets": TransferData(
        "OxfordIIITPet", 37, (2940, 740, 3669), "mean per-class", (None, None, "trainval")
    ),
    "flowers": TransferData(
        "Flowers102", 102, (1020, 1020, 6149), "mean per-class", ("train", "val", "trainval")
    ),
}
"""Transfer data sets by their names in ``bam-mm check-data``."""


class _ChannelsToBGR(BaseTransform):
    """Convert CIFAR's RGB images to BGR, the order in which mmcv loads files."""

    def transform(self, results: dict) -> dict:
        results["img"] = results["img"][..., ::-1]
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@DATASETS.register_module(name="TransferDataset")
def transfer_dataset(
    name: str,
    data_root: str,
    split: str,
    pipeline: Sequence = (),
    check: bool = True,
    **kwargs,
) -> BaseDataset:
    """Build one split of a transfer data set, as an instance of mmpretrain's class for it.

    Args:
        name: Key of :data:`TRANSFER`.
        data_root: Folder of the data set, in the layout of its authors.
        split: ``train``, ``val``, ``trainval`` or ``test``. If the source has no validation part,
            ``train`` and ``val`` are the seeded split of
            :func:`~bam_mm.data.subsets.stratified_split`. ``metainfo['split_name']`` contains the
            origin of the split.
        pipeline: Transforms. CIFAR's images are decoded already, and ``LoadImage`` returns them
            unchanged.
        check: Whether to check first that the data is complete; False to use a part of it.
        **kwargs: Arguments of mmpretrain's class.

    Returns:
        The data set.

    Raises:
        InputError: If the name or split is unknown, or the data is not complete.
    """
    if name not in TRANSFER:
        raise InputError(f"unknown transfer data set {name!r}: choose one of {', '.join(TRANSFER)}")
    if split not in SPLITS:
        raise InputError(f"{name} split={split!r}: choose one of {', '.join(SPLITS)}")
    data, root = TRANSFER[name], Path(data_root).expanduser()
    if check:
        _require_complete(name, root)
    part = "trainval" if split == "test" else split
    official = "test" if split == "test" else data.official[SPLITS.index(part)]
    if data.kind.startswith("CIFAR"):
        # Never download data implicitly.
        kwargs.setdefault("download", False)
        pipeline = [_ChannelsToBGR(), *pipeline]
    dataset = MMPRETRAIN_DATASETS.get(data.kind)(
        data_root=str(root), split=official or data.official[2], pipeline=pipeline, **kwargs
    )
    if official is None:
        train, val, _ = data.sizes
        num_val = round(len(dataset) * val / (train + val))
        parts = stratified_split(dataset.get_gt_labels(), num_val, seed=SPLIT_SEED)
        dataset.get_subset_(parts[SPLITS.index(split)].tolist())
    # mmpretrain has no names for the classes of Flowers.
    dataset._metainfo.setdefault("classes", tuple(map(str, range(data.num_classes))))
    dataset._metainfo["split_name"] = data.name_of(split)
    return dataset


def _require_complete(name: str, root: Path) -> None:
    for finding in check_data(name, root):
        if not finding.ok:
            raise InputError(
                f"{name}: {finding.text}; {finding.remedy} (bam-mm check-data {name} "
                f"{root} lists everything)"
            )
