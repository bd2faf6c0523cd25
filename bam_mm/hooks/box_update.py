"""ContrastiveCrop's boxes while training: when they are computed, kept, and come back."""

from __future__ import annotations

import copy

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bam_mm.data.contrastive_crop import BoxStore, extract_boxes
from bam_mm.data.multi_crop import MultiCrop
from bam_mm.errors import InputError
from bam_mm.models.bam import bam_of
from bam_mm.models.feature_extraction import EVALUATION_SAMPLER
from bam_mm.models.saliency import saliency
from bam_mm.registry import HOOKS, TRANSFORMS

CHECKPOINT_KEY = "boxes"


@HOOKS.register_module()
class BoxUpdateHook(Hook):
    """Give ContrastiveCrop its boxes: after ``start`` epochs, and anew every ``interval`` epochs.

    Before the first ones the crops are plain random resized crops (BAM, section 4.1; Peng et al.,
    CVPR 2022). The images are those of the training set itself, in its order, read through
    ``loader['pipeline']``; every process computes its share. Boxes are saved in the checkpoint
    (``boxes``: (N, 4) float32) and come back at resume.

    Args:
        loader: ``pipeline`` and whatever else a data loader takes but its data set and sampler:
            ``batch_size``, ``num_workers``, ... Boxes are fractions of the original image, so the
            pipeline must show all of it: resize it to a square, with no crop.
        start: Epochs done before the first boxes; None switches ContrastiveCrop off.
        interval: Epochs between two computations.
        threshold: A box holds what is above it in the heat map scaled to [0, 1].
        branch: ``teacher`` or ``student``: whose heat maps.

    Raises:
        InputError: If an argument is out of range, or the pipeline crops or flips.
    """

    priority = "NORMAL"

    def __init__(
        self,
        loader: dict,
        start: int | None = 40,
        interval: int = 20,
        threshold: float = 0.1,
        branch: str = "teacher",
    ) -> None:
        if (start is not None and start < 0) or interval < 1:
            raise InputError(
                f"BoxUpdateHook start={start}, interval={interval}: start is a count of epochs "
                "from 0 up (or None, which switches ContrastiveCrop off), interval one from 1 up"
            )
        if not 0 <= threshold < 1:
            raise InputError(
                f"BoxUpdateHook threshold={threshold}: heat maps are scaled to [0, 1], choose "
                "from 0 up to below 1 (.1 in the paper)"
            )
        _want_whole_image(loader.get("pipeline"))
        self.loader, self.start, self.interval = loader, start, interval
        self.threshold, self.branch = threshold, branch
        self.store: BoxStore | None = None
        self.images: DataLoader | None = None
        self.saved: Tensor | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the boxes of a checkpoint; whether it is one to resume from shows later."""
        self.saved = checkpoint.get(CHECKPOINT_KEY)

    def before_train(self, runner) -> None:
        """Make the store before any worker starts; check everything before any hour is spent."""
        if self.start is None:
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise InputError(
                "BoxUpdateHook counts epochs, but train_cfg is of type "
                f"{type(runner.train_loop).__name__}: use an EpochBasedTrainLoop, or switch "
                "ContrastiveCrop off with default_hooks.boxes.start=None"
            )
        model = bam_of(runner.model)
        if self.branch == "teacher" and model.teacher is None:
            raise InputError(
                "BoxUpdateHook branch='teacher', but the model has none (model.use_teacher=False): "
                "take the student's heat maps with default_hooks.boxes.branch='student'"
            )
        model.branch(self.branch)
        dataset = dataset_with_pipeline(runner.train_dataloader.dataset)
        self.images = self._build(runner, dataset)
        self.store = store_of(dataset)
        self.store.allocate(len(dataset))
        if self.saved is not None and runner.iter > 0:
            self.store.load(self.saved)
        self.saved = None
        if self.start >= runner.max_epochs:
            runner.logger.warning(
                f"ContrastiveCrop starts after {self.start} epochs, but the run has "
                f"{runner.max_epochs}: all crops are plain random resized crops"
            )

    def before_train_epoch(self, runner) -> None:
        """Compute boxes where it is time.

        A run that was resumed from a checkpoint without boxes gets them at once.
        """
        if self.store is None or runner.epoch < self.start:
            return
        if (runner.epoch - self.start) % self.interval == 0 or not self.store.active:
            self._update(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the boxes into the checkpoint, once there are any."""
        if self.store is not None and self.store.active:
            checkpoint[CHECKPOINT_KEY] = self.store.boxes.clone()

    def _build(self, runner, dataset: Dataset) -> DataLoader:
        config = copy.deepcopy(dict(self.loader))
        pipeline = Compose([TRANSFORMS.build(step) for step in config.pop("pipeline")])
        # A shallow copy: the list of files is the training set's, with whatever subset was taken.
        images = copy.copy(dataset)
        images.pipeline = pipeline
        config.setdefault("collate_fn", dict(type="default_collate"))
        # As the result of a function, since mmengine copies deeply what it is given.
        config |= dict(dataset=dict(type=lambda: images), sampler=dict(EVALUATION_SAMPLER))
        return runner.build_dataloader(config, seed=runner.seed)

    def _update(self, runner) -> None:
        model = bam_of(runner.model)
        indices, boxes = extract_boxes(
            model.branch(self.branch),
            model.data_preprocessor,
            self.images,
            heat_maps=saliency,
            threshold=self.threshold,
            description=f"boxes of the {self.branch}",
        )
        boxes = boxes.cpu()
        self.store.update(indices.cpu(), boxes)
        area = (boxes[:, 2:] - boxes[:, :2]).double().prod(dim=1)
        runner.visualizer.add_scalars({"boxes/area": area.mean().item()}, step=runner.iter)
        runner.logger.info(
            f"ContrastiveCrop after {runner.epoch} epochs: boxes of {len(boxes)} images, mean area "
            f"{100 * area.mean():.1f} % of the image, {int((area == 1).sum())} are all of it"
        )


def dataset_with_pipeline(dataset: Dataset) -> Dataset:
    """The data set inside wrappers (repeats, and the like) that has the pipeline.

    Its index is what ``sample_idx`` says.

    Raises:
        InputError: If there is none, or several.
    """
    inner = dataset
    while not hasattr(inner, "pipeline") and hasattr(inner, "dataset"):
        inner = inner.dataset
    if not hasattr(inner, "pipeline"):
        raise InputError(
            f"BoxUpdateHook needs one training set with a pipeline, not {type(inner).__name__}: "
            "use bam_mm.ImageFolder (put several folders into one by links), or switch "
            "ContrastiveCrop off with default_hooks.boxes.start=None"
        )
    return inner


def store_of(dataset: Dataset) -> BoxStore:
    """The store of the pipeline's :class:`~bam_mm.data.multi_crop.MultiCrop`.

    Raises:
        InputError: If there is none.
    """
    transforms = getattr(dataset.pipeline, "transforms", ())
    for transform in transforms:
        if isinstance(transform, MultiCrop):
            return transform.boxes
    raise InputError(
        "BoxUpdateHook finds no bam_mm.MultiCrop in the training pipeline "
        f"({', '.join(type(t).__name__ for t in transforms) or 'it is empty'}), so nothing would "
        "use the boxes: put it there, or switch ContrastiveCrop off with "
        "default_hooks.boxes.start=None"
    )


def _want_whole_image(pipeline: list | None) -> None:
    if not pipeline:
        raise InputError(
            "BoxUpdateHook loader has no pipeline: give it LoadImage, a Resize to a square, and "
            "PackInputs"
        )
    for step in pipeline:
        kind = step["type"] if isinstance(step, dict) else type(step)
        name = kind if isinstance(kind, str) else kind.__name__
        if "Crop" in name or "Flip" in name:
            raise InputError(
                f"BoxUpdateHook loader.pipeline has {name}, but boxes are fractions of the whole, "
                "upright image: use Resize(scale=(S, S)) alone"
            )
