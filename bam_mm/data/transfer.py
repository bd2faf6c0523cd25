"""The seven transfer data sets, in the splits of BYOL's Table 10."""

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
"""Of the validation splits that the source data does not have."""

SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True)
class TransferData:
    """A transfer data set.

    Attributes:
        kind: mmpretrain's class.
        num_classes: Number of classes.
        sizes: Images of train, val and test (BYOL, Grill et al. 2020, Table 10).
        metric: ``top1``, or ``mean per-class`` accuracy.
        official: The names that mmpretrain's class has for train, val and trainval. None: the
            source has no such part, and the seeded split makes it from trainval.
    """

    kind: str
    num_classes: int
    sizes: tuple[int, int, int]
    metric: str
    official: tuple[str | None, str | None, str] = (None, None, "train")

    def name_of(self, split: str) -> str:
        """Name of a split that says whose it is: the source's, or made here."""
        if split in ("train", "val") and self.official[SPLITS.index(split)] is None:
            return f"{split} (balanced split of ours, seed {SPLIT_SEED})"
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
"""By the names of ``tools/check_data.py``."""


class _ChannelsToBGR(BaseTransform):
    """CIFAR's batches hold RGB; everything here starts from BGR, as mmcv loads files."""

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
        name: A key of :data:`TRANSFER`.
        data_root: Folder of the data set, laid out as its authors distribute it.
        split: ``train``, ``val``, ``trainval`` or ``test``. Where the source has no validation
            part, train and val are the seeded split of :func:`~bam_mm.data.subsets.stratified_split`;
            ``metainfo['split_name']`` says so.
        pipeline: Transforms; images of CIFAR arrive decoded, and ``LoadImage`` lets them pass.
        check: Whether to count the files first; False for a part of a data set on purpose.
        **kwargs: For mmpretrain's class.

    Returns:
        The data set.

    Raises:
        InputError: If the name or split is unknown, or the data is not all there.
    """
    if name not in TRANSFER:
        raise InputError(f"transfer data set {name!r}: choose one of {', '.join(TRANSFER)}")
    if split not in SPLITS:
        raise InputError(f"{name} split={split!r}: choose one of {', '.join(SPLITS)}")
    data, root = TRANSFER[name], Path(data_root).expanduser()
    if check:
        _demand(name, root)
    part = "trainval" if split == "test" else split
    official = "test" if split == "test" else data.official[SPLITS.index(part)]
    if data.kind.startswith("CIFAR"):
        # Never fetched behind the user's back.
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


def _demand(name: str, root: Path) -> None:
    for finding in check_data(name, root):
        if not finding.ok:
            raise InputError(
                f"{name}: {finding.text}; {finding.remedy} (python tools/check_data.py {name} "
                f"{root} lists everything)"
            )
