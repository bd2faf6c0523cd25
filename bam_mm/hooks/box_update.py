"""ContrastiveCrop's boxes during training: when they are computed, saved and restored."""

from __future__ import annotations

import copy
from collections.abc import Sized
from typing import Any, cast

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bam_mm.data.contrastive_crop import BoxStore, extract_boxes
from bam_mm.data.multi_crop import MultiCrop
from bam_mm.errors import InputError
from bam_mm.models.feature_table import EVALUATION_SAMPLER
from bam_mm.models.saliency import saliency
from bam_mm.models.siamese import siamese_of
from bam_mm.precision import check_precision
from bam_mm.registry import HOOKS, TRANSFORMS

CHECKPOINT_KEY = "boxes"


@HOOKS.register_module()
class BoxUpdateHook(Hook):
    """Compute the boxes of ContrastiveCrop after ``start`` epochs, then every ``interval`` epochs.

    Until then, the crops are plain random resized crops (BAM, section 4.1; Peng et al., CVPR 2022).
    The boxes are computed for the images of the training set in their order, read through
    ``loader['pipeline']``, and each process computes its share. The boxes are saved in the
    checkpoint (``boxes``: (N, 4) float32) and restored when a run is resumed.

    Args:
        loader: Config of a data loader without data set and sampler: ``pipeline``, ``batch_size``,
            ``num_workers`` and so on. The pipeline must keep the whole image, because boxes are
            fractions of it: resize the image to a square and do not crop it.
        start: Number of epochs before the first boxes; None switches ContrastiveCrop off.
        interval: Number of epochs between two computations.
        threshold: Value in the heat map, scaled to [0, 1], above which a pixel belongs to the box.
        branch: Branch that computes the heat maps, ``teacher`` or ``student``.
        precision: Precision in which it computes, ``float32``, ``tf32`` or ``bfloat16``; None is
            ``tf32`` on a GPU and ``float32`` on a CPU.

    Raises:
        InputError: If an argument is out of range, or the pipeline crops or flips images.
    """

    priority = "NORMAL"

    def __init__(
        self,
        loader: dict,
        start: int | None = 40,
        interval: int = 20,
        threshold: float = 0.1,
        branch: str = "teacher",
        precision: str | None = None,
    ) -> None:
        if (start is not None and start < 0) or interval < 1:
            raise InputError(
                f"BoxUpdateHook start={start}, interval={interval}: start must be a number of "
                "epochs from 0 (None switches ContrastiveCrop off), and interval at least 1"
            )
        if not 0 <= threshold < 1:
            raise InputError(
                f"BoxUpdateHook threshold={threshold}: heat maps are scaled to [0, 1], so choose a "
                "value from 0 to below 1 (.1 in the paper)"
            )
        _check_whole_image(loader.get("pipeline"))
        self.loader, self.start, self.interval = loader, start, interval
        self.threshold, self.branch = threshold, branch
        self.precision = check_precision(precision, "BoxUpdateHook precision")
        self.store: BoxStore | None = None
        self.images: DataLoader | None = None
        self.saved: Tensor | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store the boxes of a checkpoint; ``before_train`` uses them if the run is resumed."""
        self.saved = checkpoint.get(CHECKPOINT_KEY)

    def before_train(self, runner) -> None:
        """Check the setup and allocate the box store, before any worker starts.

        Raises:
            InputError: If the run is not epoch-based, the model has no such branch, the training
                pipeline has no ``MultiCrop``, or the saved boxes do not fit the training set.
        """
        if self.start is None:
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise InputError(
                "BoxUpdateHook counts epochs, but train_cfg is of type "
                f"{type(runner.train_loop).__name__}: use an EpochBasedTrainLoop, or switch "
                "ContrastiveCrop off with default_hooks.boxes.start=None"
            )
        model = siamese_of(runner.model)
        if self.branch == "teacher" and model.teacher is None:
            raise InputError(
                "BoxUpdateHook branch='teacher', but the model has none (model.use_teacher=False): "
                "use the student's heat maps with default_hooks.boxes.branch='student'"
            )
        model.branch(self.branch)
        dataset = dataset_with_pipeline(runner.train_dataloader.dataset)
        self.images = self._build(runner, dataset)
        self.store = store_of(dataset)
        self.store.allocate(len(cast(Sized, dataset)))
        if self.saved is not None and runner.iter > 0:
            self.store.load(self.saved)
        self.saved = None
        if self.start >= runner.max_epochs:
            runner.logger.warning(
                f"ContrastiveCrop starts after {self.start} epochs, but the run has "
                f"{runner.max_epochs}: all crops are plain random resized crops"
            )

    def before_train_epoch(self, runner) -> None:
        """Compute boxes if they are due.

        A run that is resumed from a checkpoint without boxes computes them immediately.
        """
        if self.store is None or runner.epoch < self.start:
            return
        if (runner.epoch - self.start) % self.interval == 0 or not self.store.active:
            self._update(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the boxes in the checkpoint, once they have been computed."""
        if self.store is not None and self.store.active:
            assert self.store.boxes is not None  # Active only after allocate().
            checkpoint[CHECKPOINT_KEY] = self.store.boxes.clone()

    def _build(self, runner, dataset: Dataset) -> DataLoader:
        config = copy.deepcopy(dict(self.loader))
        pipeline = Compose([TRANSFORMS.build(step) for step in config.pop("pipeline")])
        # A shallow copy keeps the training set's list of files, including its choice of a subset.
        images: Any = copy.copy(dataset)
        images.pipeline = pipeline
        config.setdefault("collate_fn", dict(type="default_collate"))
        # mmengine copies the config deeply, so pass the data set as the result of a function.
        config |= dict(dataset=dict(type=lambda: images), sampler=dict(EVALUATION_SAMPLER))
        return runner.build_dataloader(config, seed=runner.seed)

    def _update(self, runner) -> None:
        assert self.images is not None and self.store is not None  # Set in before_train.
        model = siamese_of(runner.model)
        indices, boxes = extract_boxes(
            model.branch(self.branch),
            model.data_preprocessor,
            self.images,
            heat_maps=saliency,
            threshold=self.threshold,
            description=f"boxes of the {self.branch}",
            precision=self.precision,
        )
        boxes = boxes.cpu()
        self.store.update(indices.cpu(), boxes)
        area = (boxes[:, 2:] - boxes[:, :2]).double().prod(dim=1)
        whole = int((area == 1).sum())
        runner.visualizer.add_scalars(
            {"boxes/area": area.mean().item(), "boxes/whole_images": whole}, step=runner.iter
        )
        runner.logger.info(
            f"ContrastiveCrop after {runner.epoch} epochs: boxes of {len(boxes)} images, mean area "
            f"{100 * area.mean():.1f} % of the image, {whole} are all of it"
        )


def dataset_with_pipeline(dataset: Dataset) -> Dataset:
    """Return the data set with the pipeline inside wrappers such as ``RepeatDataset``.

    Its indices are the ``sample_idx`` of the images.

    Raises:
        InputError: If there is no such data set, or more than one.
    """
    inner = dataset
    while not hasattr(inner, "pipeline") and hasattr(inner, "dataset"):
        inner = inner.dataset
    if not hasattr(inner, "pipeline"):
        raise InputError(
            f"BoxUpdateHook needs one training set with a pipeline, not {type(inner).__name__}: "
            "use bam_mm.ImageFolder (combine several folders with links), or switch "
            "ContrastiveCrop off with default_hooks.boxes.start=None"
        )
    return inner


def store_of(dataset: Dataset) -> BoxStore:
    """Return the box store of the pipeline's :class:`~bam_mm.data.multi_crop.MultiCrop`.

    Args:
        dataset: Data set with a pipeline.

    Raises:
        InputError: If the pipeline has no ``MultiCrop``.
    """
    transforms = getattr(cast(Any, dataset).pipeline, "transforms", ())
    for transform in transforms:
        if isinstance(transform, MultiCrop):
            return transform.boxes
    raise InputError(
        "BoxUpdateHook finds no bam_mm.MultiCrop in the training pipeline "
        f"({', '.join(type(t).__name__ for t in transforms) or 'it is empty'}), so nothing would "
        "use the boxes: add it, or switch ContrastiveCrop off with default_hooks.boxes.start=None"
    )


def _check_whole_image(pipeline: list | None) -> None:
    if not pipeline:
        raise InputError(
            "BoxUpdateHook loader has no pipeline: add one with LoadImage, a Resize to a square, "
            "and PackInputs"
        )
    for step in pipeline:
        kind = step["type"] if isinstance(step, dict) else type(step)
        name = kind if isinstance(kind, str) else kind.__name__
        if "Crop" in name or "Flip" in name:
            raise InputError(
                f"BoxUpdateHook loader.pipeline has {name}, but boxes are fractions of the whole, "
                "unflipped image: use only Resize(scale=(S, S))"
            )
