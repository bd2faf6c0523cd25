"""Test loop for segmentation by nearest patches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import TestLoop
from mmengine.structures import PixelData
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from bam_mm.data.checks.dense_labels import check_dense_data, check_same_maps
from bam_mm.data.checks.shared_images import shared_images
from bam_mm.distributed import (
    gather_objects,
    gather_rows,
    rank,
    sum_over_processes,
    unwrap_model,
    world_size,
)
from bam_mm.errors import InputError, listing
from bam_mm.evaluation.dense_knn import (
    IGNORED,
    PatchLabels,
    chance_counts,
    check_patch_bank,
    compress_shares,
    dense_knn_predict_shards,
    enlarged_classes,
    join_labels,
    mean_iou,
    patch_draws,
    patch_shares,
    sample_patches,
)
from bam_mm.models.feature_table import EVALUATION_SAMPLER, feature_dtype_of
from bam_mm.models.frozen_maps import FrozenMaps
from bam_mm.models.host_memory import freed_memory_kept
from bam_mm.precision import check_precision, computing_in, effective_precision
from bam_mm.registry import LOOPS

CHANCE = "chance/{}"
"""Names of the metrics of predicting the most frequent class of the bank for every pixel."""


class Bank(NamedTuple):
    """Memory bank of patches, whose features are distributed over the processes.

    Attributes:
        features: (n, D) features of the patches that this process holds.
        rows: (n,) ascending indices of these patches in the bank.
        labels: Label distributions of all N patches.
        most_frequent: Class with the most pixels in the images of the bank.
    """

    features: Tensor
    rows: Tensor
    labels: PatchLabels
    most_frequent: int


@LOOPS.register_module()
class DenseKNNTestLoop(TestLoop):
    """Segmentation by the nearest patches of a memory bank, without training.

    Patches of the training images, with the shares of the classes among their pixels, are the bank.
    Each patch of a test image gets the average of the labels of its nearest patches, see
    :func:`~bam_mm.evaluation.dense_knn.dense_knn_predict`, and the predictions are enlarged to the
    size of the map. The bank is distributed over the processes, and its size is bounded; the
    metrics do not depend on the number of processes.

    Args:
        runner: Runner of a :class:`~bam_mm.models.frozen_maps.FrozenMaps` model.
        dataloader: Dataloader of the test images and maps, or its config, whose sampler is
            replaced.
        evaluator: Evaluator or metrics of mmseg, such as ``IoUMetric``.
        bank: Config of the dataloader of the bank's images and maps.
        bank_size: Maximum number of patches in the bank. The same number is sampled of each image.
        k: Number of neighbours.
        temperature: Temperature of the softmax over the neighbours' cosines.
        chunk: Number of patches to compare at a time, see
            :func:`~bam_mm.evaluation.dense_knn.dense_knn_predict`.
        seed: Seed of the sampling of patches.
        feature_dtype: Type in which the bank is stored, ``float32`` or ``float16``, which needs
            half the memory. Similarities are always computed in float32.
        precision: Precision in which the backbone computes, ``float32``, ``tf32`` or ``bfloat16``;
            None is ``tf32`` on a GPU and ``float32`` on a CPU.

    Raises:
        InputError: If an option is out of range, the bank is smaller than its number of images or
            than k, bank and test share an image, or their classes differ.
    """

    name = "dense_knn"

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        bank: dict,
        bank_size: int = 1_024_000,
        k: int = 30,
        temperature: float = 0.02,
        chunk: int = 1024,
        seed: int = 0,
        feature_dtype: str = "float32",
        precision: str | None = None,
    ) -> None:
        numbers = {"bank_size": (bank_size, 1), "k": (k, 1), "chunk": (chunk, 1), "seed": (seed, 0)}
        for name, (value, low) in numbers.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise InputError(f"test_cfg.{name}={value!r}: set a whole number of at least {low}")
        if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
            raise InputError(f"test_cfg.temperature={temperature!r}: set a finite number above 0")
        self.bank_size, self.k, self.chunk, self.seed = bank_size, k, chunk, seed
        self.temperature, self.feature_dtype = temperature, feature_dtype_of(feature_dtype)
        self.precision = check_precision(precision, "test_cfg.precision")
        super().__init__(runner, _exact(dataloader), evaluator)
        self.loaders = {
            "test": self.dataloader,
            "bank": runner.build_dataloader(_exact(bank)),
        }
        model = unwrap_model(runner.model)
        if not isinstance(model, FrozenMaps):
            raise InputError(
                f"test_cfg.type=DenseKNNTestLoop needs model.type=bam_mm.FrozenMaps, not "
                f"{type(model).__name__}: put the backbone into such a model"
            )
        self.model = model
        self.classes = self._common_classes()
        images = len(self.loaders["bank"].dataset)
        if bank_size < images:
            raise InputError(
                f"test_cfg.bank_size={bank_size}, but the bank has {images} images: set it to at "
                "least one patch of each, or use fewer images with test_cfg.bank.dataset.indices=N"
            )

    @property
    def precision_used(self) -> str:
        """Precision in which the backbone computes on its device."""
        return effective_precision(self.precision, self._device)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Fill the bank, predict all test images and evaluate the predictions.

        Returns:
            The metrics of the evaluator, and ``chance/mIoU`` and ``chance/aAcc``: those of the
            bank's most frequent class everywhere.

        Raises:
            InputError: If the bank has fewer than k labelled patches, data have a fault, or a
                feature is not finite.
        """
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        with freed_memory_kept(self._device):
            bank = self._fill_bank()
            truth = self._predict_all(bank)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        chance = chance_counts(truth, bank.most_frequent)
        metrics[CHANCE.format("mIoU")] = round(100 * mean_iou(chance), 2)
        metrics[CHANCE.format("aAcc")] = round(100 * float(chance[0].sum() / truth.sum()), 2)
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def _fill_bank(self) -> Bank:
        loader = self.loaders["bank"]
        number = self.bank_size // len(loader.dataset)
        table = _Rows(self.feature_dtype)
        labels: list[PatchLabels] = []
        found: list[tuple[int, int]] = []
        pixels = torch.zeros(len(self.classes), dtype=torch.int64)
        image, own = rank(), len(range(rank(), len(loader.dataset), world_size()))
        for batch in _progress(loader, "dense kNN bank"):
            maps, samples = self._maps(batch)
            for features, sample in zip(maps, samples, strict=True):
                truth = self._truth(sample)
                pixels += _pixels(truth, len(self.classes))
                shares = patch_shares(truth, features.shape[1:], num_classes=len(self.classes))
                draws = patch_draws(len(shares), seed=self.seed, image=image)
                chosen = sample_patches(shares, number, draws=draws)
                labels.append(compress_shares(shares[chosen]))
                # Of length 1, since float16 would lose features that are very long or short.
                patches = F.normalize(features.flatten(1).T[chosen], dim=1)
                table.add(patches, expected=own * min(number, len(shares)))
                found.append((image, len(chosen)))
                image += world_size()
        return self._joined(table, labels, found, pixels)

    def _joined(
        self,
        table: _Rows,
        labels: list[PatchLabels],
        found: list[tuple[int, int]],
        pixels: Tensor,
    ) -> Bank:
        """Number the patches in the order of the images, and send their labels to all processes."""
        counts = dict(sorted(pair for part in gather_objects(found) for pair in part))
        starts, total = {}, 0
        for image, count in counts.items():
            starts[image], total = total, total + count
        mine = [torch.arange(starts[image], starts[image] + count) for image, count in found]
        rows = torch.cat([torch.zeros(0, dtype=torch.int64), *mine]).to(self._device)
        if self.k > total:
            raise InputError(
                f"test_cfg.k={self.k}, but the bank has {total} labelled patches: lower k, raise "
                f"test_cfg.bank_size (now {self.bank_size}), or add images"
            )
        # A process without images learns from the others how wide the tables are.
        sizes = gather_objects((table.width, max([0, *(p.classes.shape[1] for p in labels)])))
        width, most = (max(column) for column in zip(*sizes, strict=True))
        empty = torch.zeros((0, most), device=self._device)
        own = join_labels([PatchLabels(empty.to(torch.uint8), empty), *labels])
        order = gather_rows(rows).argsort()
        everyones = PatchLabels(*(gather_rows(part)[order] for part in own))
        features = table.rows(width, self._device)
        check_patch_bank(features, everyones, size=total, num_classes=len(self.classes))
        print_log(
            f"dense kNN: bank of {total:,} patches of {len(counts):,} images, "
            f"{features.shape[1]} features each",
            logger="current",
        )
        most_frequent = int(sum_over_processes(pixels).argmax())
        return Bank(features, rows, everyones, most_frequent)

    def _predict_all(self, bank: Bank) -> Tensor:
        """Predict the test images of this process.

        Returns:
            (C,) numbers of pixels of each class in all test maps.
        """
        truth = torch.zeros(len(self.classes), dtype=torch.int64)
        batches = iter(_progress(self.dataloader, "dense kNN"))
        # A process without further images still compares those of the others with its patches.
        for index in range(max(gather_objects(len(self.dataloader)))):
            batch = next(batches, None)
            if batch is not None:
                self.runner.call_hook("before_test_iter", batch_idx=index, data_batch=batch)
            samples = self._predict(bank, batch)
            if batch is None:
                continue
            for sample in samples:
                truth += _pixels(self._truth(sample), len(self.classes))
            self.evaluator.process(data_samples=samples, data_batch=batch)
            self.runner.call_hook(
                "after_test_iter", batch_idx=index, data_batch=batch, outputs=samples
            )
        return sum_over_processes(truth)

    def _predict(self, bank: Bank, batch: Any) -> Sequence[Any]:
        """Predict a batch of this process, None for none; every process must call this."""
        maps: Iterable[Tensor] = ()
        samples: Sequence[Any] = ()
        if batch is not None:
            maps, samples = self._maps(batch)
        queries = bank.features.new_zeros((0, bank.features.shape[1]), dtype=torch.float32)
        found = dense_knn_predict_shards(
            bank.features,
            bank.rows,
            bank.labels,
            torch.cat([queries, *(m.flatten(1).T for m in maps)]),
            num_classes=len(self.classes),
            k=self.k,
            temperature=self.temperature,
            chunk=self.chunk,
        )
        parts = found.split([m[0].numel() for m in maps])
        for features, part, sample in zip(maps, parts, samples, strict=True):
            prediction = part.T.unflatten(1, features.shape[1:])
            height, width = self._truth(sample).shape
            classes = enlarged_classes(prediction, (height, width))
            sample.pred_sem_seg = PixelData(data=classes[None])
        return samples

    def _maps(self, batch: Mapping[str, Any]) -> tuple[Tensor, Sequence[Any]]:
        """Compute the maps (B, D, h, w) of a batch, and return them with its samples."""
        sizes = {tuple(image.shape[-2:]) for image in batch["inputs"]}
        if len(sizes) > 1:
            raise InputError(
                f"a batch has images of {listing(sorted(f'{w}x{h}' for h, w in sizes), 3)} pixels: "
                "set keep_ratio=False in Resize, or batch_size=1 in test_dataloader and "
                "test_cfg.bank"
            )
        data = self.model.data_preprocessor(batch, False)
        with computing_in(self.precision, self._device):
            maps = self.model(data["inputs"])
        (height, width), (rows, columns) = data["inputs"].shape[2:], maps.shape[2:]
        if height % rows or width % columns:
            raise InputError(
                f"{type(self.model.backbone).__name__} cuts an image of {width}x{height} pixels "
                f"into {columns}x{rows} patches, which is not a whole number of pixels per patch: "
                "set the scale of Resize in both pipelines to a multiple of its patch size"
            )
        if not maps.isfinite().all():
            bad = int((~maps.flatten(1).isfinite().all(dim=1)).nonzero()[0])
            raise InputError(
                f"{type(self.model.backbone).__name__} returns a feature that is not finite for "
                f"{data['data_samples'][bad].get('img_path', 'an image')}: check the checkpoint "
                "and the preprocessor"
            )
        return maps, data["data_samples"]

    def _truth(self, sample: Any) -> Tensor:
        if "gt_sem_seg" not in sample:
            raise InputError(
                f"{sample.get('img_path', 'an image')} has no map: dense kNN needs labels of bank "
                "and test images; set data_prefix.seg_map_path, and bam_mm.LoadSemanticMap in "
                "both pipelines"
            )
        return sample.gt_sem_seg.data[0].to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _common_classes(self) -> tuple[str, ...]:
        """Check both data sets and return their classes."""
        data = {part: loader.dataset for part, loader in self.loaders.items()}
        check_same_maps(data)
        if shared := shared_images(data["test"], data["bank"]):
            raise InputError(
                f"test_cfg.bank.dataset: {len(shared)} of the test images are in the bank and "
                f"would find themselves, the first: {shared[0]}; use training images for the bank"
            )
        for part, dataset in data.items():
            check_dense_data(self.model, dataset, part)
        classes = {part: tuple(each.metainfo["classes"]) for part, each in data.items()}
        if classes["test"] != classes["bank"]:
            raise InputError(
                f"the classes of the test images ({listing(classes['test'])}) are not those of "
                f"the bank ({listing(classes['bank'])}): set the same metainfo.classes in "
                "test_dataloader.dataset and test_cfg.bank.dataset"
            )
        return classes["test"]


class _Rows:
    """Table of rows that is allocated once if its final size is known, and filled in place."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.table: Tensor | None = None
        self.dtype, self.used = dtype, 0

    @property
    def width(self) -> int:
        """Number of columns, 0 if it is not known."""
        return 0 if self.table is None else self.table.shape[1]

    def add(self, rows: Tensor, *, expected: int) -> None:
        """Append rows (n, D).

        Args:
            rows: Rows in any type.
            expected: Number of rows in the end, if all images have the size of the present one.
        """
        after = self.used + len(rows)
        if self.table is None or after > len(self.table):
            size = max(expected, after, 3 * self.used // 2)  # Few copies if images grow.
            larger = rows.new_empty((size, rows.shape[1]), dtype=self.dtype)
            if self.table is not None:
                larger[: self.used] = self.table[: self.used]
            self.table = larger
        self.table[self.used : after] = rows
        self.used = after

    def rows(self, width: int, device: torch.device) -> Tensor:
        """Return the rows so far, (0, width) if there is none."""
        if self.table is None:
            return torch.empty((0, width), dtype=self.dtype, device=device)
        return self.table[: self.used]


def _pixels(truth: Tensor, classes: int) -> Tensor:
    """Count the pixels of each class in a map, (C,) on the CPU."""
    return truth[truth != IGNORED].long().bincount(minlength=classes).cpu()


def _progress(loader: DataLoader, description: str) -> Iterable[Any]:
    quiet = not (is_main_process() and sys.stdout.isatty())
    return track(loader, description=description, disable=quiet, transient=True)


def _exact(config: DataLoader | dict) -> dict | DataLoader:
    """Replace the sampler of a config by one that neither drops nor repeats an image."""
    if not isinstance(config, Mapping):
        return config
    return {**config, "sampler": dict(EVALUATION_SAMPLER)}
