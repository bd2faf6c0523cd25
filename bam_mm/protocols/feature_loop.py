"""Base class of the test loops that score frozen features."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.data.checks.few_classes import fit_topk
from bam_mm.data.class_names import names_of
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing
from bam_mm.evaluation import UnitScores
from bam_mm.evaluation.feature_checks import check_labels, check_rows
from bam_mm.models.cost import ExtractionMeter
from bam_mm.models.encoders import branches_of
from bam_mm.models.feature_table import EVALUATION_SAMPLER, FeatureShard, feature_dtype_of
from bam_mm.models.frozen_features import FrozenFeatures
from bam_mm.models.siamese import siamese_of
from bam_mm.precision import check_precision, effective_precision
from bam_mm.protocols.feature_cache import cached_shard
from bam_mm.protocols.matched_classes import MatchedClasses
from bam_mm.protocols.unit_scores import IMAGES, UNITS, UnitTable, names_of_images, write_units

SETTINGS = ("backbone", "feature", "blocks", "data_preprocessor")
"""Keys of a model's config that its features depend on, in addition to the weights."""


class FeatureLoop(BaseLoop):
    """Test loop that extracts the features of every image once and scores them.

    Args:
        runner: Runner of the model to evaluate.
        dataloader: Dataloader of the test images, preferably its config: the sampler of a config is
            replaced by one that neither drops nor repeats an image.
        evaluator: Evaluator or metrics; may be empty.
        loaders: Configs of further dataloaders, by name.
        cache_dir: Folder of the feature cache; None disables the cache.
        branch: Branch of a pretrained model to evaluate, ``teacher`` or ``student``. Not used for
            ``bam_mm.FrozenFeatures``, which has this option itself.
        feature_dtype: Type in which features are stored, ``float32`` or ``float16``.
        precision: Precision in which the backbone computes, ``float32``, ``tf32`` or ``bfloat16``;
            None is ``tf32`` on a GPU and ``float32`` on a CPU.
        classes: How the classes of the test images are matched with those of the first of the other
            ``loaders``, see :func:`bam_mm.data.class_matching.align`: None (by name, and all
            classes must be there), ``subset``, ``all``, ``index`` or ``order``.

    Raises:
        InputError: If the data sets have no classes, or different ones, or an option is wrong.
    """

    name = "features"
    """Name of the folder below the run's ``work_dir`` for tables and figures."""

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        *,
        loaders: Mapping[str, dict],
        cache_dir: str | None = None,
        branch: str = "teacher",
        feature_dtype: str = "float32",
        precision: str | None = None,
        classes: str | None = None,
    ) -> None:
        configs = {"test": dataloader, **loaders}
        self.configs = {name: _exact(config) for name, config in configs.items()}
        super().__init__(runner, self.configs["test"])
        self.evaluator = (
            evaluator if isinstance(evaluator, Evaluator) else runner.build_evaluator(evaluator)
        )
        self.loaders = {"test": self.dataloader}
        for name in loaders:
            self.loaders[name] = runner.build_dataloader(self.configs[name])
        self.cache_dir, self.branch = cache_dir, branch
        self.feature_dtype = feature_dtype_of(feature_dtype)
        self.precision = check_precision(precision, "test_cfg.precision")
        self.meter = ExtractionMeter()
        self._check_classes()
        self.matched = MatchedClasses(
            {name: names_of(loader.dataset, name) for name, loader in self.loaders.items()}, classes
        )
        fit_topk(self.evaluator.metrics, self.num_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes that are compared, the same for all data sets."""
        return len(self.matched.names)

    @property
    def extractor(self) -> nn.Module:
        """The network that turns (N, 3, H, W) images into features."""
        return self._source()[0]

    @property
    def precision_used(self) -> str:
        """Precision in which the backbone computes on its device."""
        return effective_precision(self.precision, next(self.extractor.parameters()).device)

    @property
    def out_dir(self) -> Path:
        """Folder for tables and figures."""
        return Path(self.runner.work_dir) / self.name

    def run(self) -> dict[str, float]:
        """Run :meth:`score` and call the runner's test hooks before and after it.

        Returns:
            The metrics.
        """
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        metrics = self.score()
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    @abstractmethod
    def score(self) -> dict[str, float]:
        """Extract and score the features; each protocol implements this.

        Returns:
            The metrics.
        """

    def features(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the features and labels of all images of one dataloader, on every process.

        Args:
            name: Name of the dataloader: ``test``, or a key of ``loaders``.

        Returns:
            Features (N, C) in the loop's ``feature_dtype`` and labels (N,) int64.

        Raises:
            InputError: If an image has no label, a label is out of range, or a feature is not
                finite.
        """
        features, _, labels = self.shard(name, whole=True)
        return features, labels

    def shard(self, name: str, *, whole: bool = False) -> FeatureShard:
        """Return the features of one dataloader, distributed over the processes.

        Args:
            name: Name of the dataloader: ``test``, or a key of ``loaders``.
            whole: Whether every process gets all rows.

        Returns:
            The rows of this process in the loop's ``feature_dtype``.

        Raises:
            InputError: Same as in :meth:`features`.
        """
        module, preprocess, config = self._source()
        loader, loader_config = self.loaders[name], self.configs[name]
        if isinstance(loader_config, Mapping):
            dataset = loader_config["dataset"]
        else:
            dataset = repr(getattr(loader.dataset, "pipeline", loader.dataset))
        shard = cached_shard(
            module,
            preprocess,
            loader,
            folder=self.cache_dir,
            settings={
                "model": config,
                "dataset": dataset,
                "normalisation": _normalisation(preprocess),
            },
            description=f"{self.name} {name}",
            whole=whole,
            dtype=self.feature_dtype,
            precision=self.precision,
            meter=self.meter,
        )
        check_rows(name, shard.features)
        check_labels(name, shard.labels, None, num_classes=len(loader.dataset.CLASSES))
        return self.matched.relabel(name, shard)

    def write_units(self, scores: Mapping[str, UnitScores]) -> None:
        """Write the scores of the test images to ``units.npz``, from the main process.

        Args:
            scores: Scores by metric, of the test images that are compared, in their order.
        """
        if not is_main_process():
            return
        dataset = self.loaders["test"].dataset
        indices = self.matched.kept("test", torch.as_tensor(dataset.get_gt_labels()))
        names = names_of_images(dataset, indices.tolist())
        write_units(self.out_dir / UNITS, UnitTable(IMAGES, names, scores))

    def check_every_class(self, name: str, labels: Tensor) -> None:
        """Check that every class has an image.

        Args:
            name: Name of the dataloader: ``test``, or a key of ``loaders``.
            labels: Labels (N,) of its images.

        Raises:
            InputError: If a class has no image.
        """
        classes = self.matched.names
        present = set(labels.unique().tolist())
        empty = [c for number, c in enumerate(classes) if number not in present]
        if empty:
            raise InputError(
                f"{self.name}: {len(empty)} of {len(classes)} classes have no image among the "
                f"{name} images: {listing(empty, 10)}; add images of them, or delete these classes"
            )

    def _source(self) -> tuple[nn.Module, nn.Module, dict]:
        model: Any = unwrap_model(self.runner.model)
        config = self.runner.cfg.get("model") or {}
        if config.get("data_preprocessor") is None:
            config = {**config, "data_preprocessor": self.runner.cfg.get("data_preprocessor")}
        config = {name: config.get(name) for name in SETTINGS}
        if isinstance(model, FrozenFeatures):
            return model, model.data_preprocessor, config
        if not isinstance(model, BaseSelfSupervisor):
            model = siamese_of(model)  # Stops, and says which models have branches.
        branches = branches_of(model)
        if self.branch not in branches:
            raise InputError(
                f"test_cfg.branch={self.branch!r}: {type(model).__name__} has "
                f"{' and '.join(branches)}; set test_cfg.branch={next(iter(branches))}"
            )
        return branches[self.branch], model.data_preprocessor, config

    def _check_classes(self) -> None:
        for name, loader in self.loaders.items():
            classes = loader.dataset.CLASSES
            if not classes:
                raise InputError(
                    f"{self.name}: the {name} images have no classes: arrange them in class "
                    "folders, as <split>/<class>/<image>"
                )
            if len(classes) == 1:
                raise InputError(
                    f"{self.name}: the {name} images have a single class ({classes[0]}), but it "
                    "needs two: arrange them with a folder per class, as <split>/<class>/<image>"
                )


def numbers(name: str, value: int | Sequence[int]) -> list[int]:
    """Convert a setting of one or several numbers to a list.

    Args:
        name: Name of the setting in ``test_cfg``, for the message.
        value: One whole number of at least 1, or several different ones.

    Returns:
        The numbers as a list.

    Raises:
        InputError: If ``value`` is anything else.
    """
    values = [value] if isinstance(value, int) else list(value)
    wrong = any(not isinstance(v, int) or v < 1 for v in values)
    if wrong or not values or len(set(values)) != len(values):
        raise InputError(
            f"test_cfg.{name}={value}: set one whole number of at least 1, or several different "
            f'ones, as in --cfg-options test_cfg.{name}="[10,20]"'
        )
    return values


def _normalisation(preprocess: nn.Module) -> dict:
    """Return what a preprocessor does to pixels, whatever its config leaves to defaults."""
    values = {name: getattr(preprocess, name, None) for name in ("mean", "std")}
    return {
        **{k: v.flatten().tolist() for k, v in values.items() if isinstance(v, Tensor)},
        "converted": getattr(preprocess, "_channel_conversion", None),
    }


def _exact(config: DataLoader | dict) -> dict | DataLoader:
    if not isinstance(config, Mapping):
        return config
    config = copy.deepcopy(config)
    config["sampler"] = dict(EVALUATION_SAMPLER)
    config.setdefault("collate_fn", dict(type="default_collate"))
    return config
