"""k-nearest-neighbour accuracy during training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bam_mm.data.class_matching import align
from bam_mm.data.class_names import names_of
from bam_mm.distributed import rank, sum_over_processes, unwrap_model, world_size
from bam_mm.errors import InputError
from bam_mm.evaluation import balanced_subset, knn_predict_shards
from bam_mm.evaluation.nearest_in_shards import nearest_in_shards
from bam_mm.hooks.model_hook import ModelHook
from bam_mm.models.encoders import branches_of
from bam_mm.models.feature_extraction import extract_shards
from bam_mm.models.feature_table import EVALUATION_SAMPLER, FeatureShard
from bam_mm.precision import check_precision
from bam_mm.registry import HOOKS
from bam_mm.variables.entries import kind_of

NEIGHBOURS = 6
"""Number of neighbours that are kept for a picture."""


@HOOKS.register_module()
class OnlineKNNHook(ModelHook):
    """Score student and teacher by kNN, with a class-balanced part of the training images as bank.

    The hook logs ``knn/teacher_top1`` and ``knn/student_top1`` in per cent. If the data folder has
    no labelled ``val`` images (pretraining on a plain folder), it logs a warning and stays off. It
    also works for mmpretrain's other self-supervised models, whose momentum encoder is the teacher.

    Args:
        bank: Config of the loader of labelled training images, with the pipeline for evaluation.
            None is ``test_cfg.bank`` of the run's config.
        queries: Config of the loader of validation images. None is ``test_dataloader``, so that
            training and test score the same images.
        k: Number of neighbours.
        temperature: Temperature of the votes.
        bank_fraction: Fraction of each class that is used as bank.
        interval: Number of epochs between two scores; the last epoch is always scored.
        branches: Branches to score if the model has them, out of ``teacher`` and ``student``.
        first: Whether to score the untrained network as well.
        precision: Precision in which the backbones compute, ``float32``, ``tf32`` or ``bfloat16``;
            None is ``tf32`` on a GPU and ``float32`` on a CPU.

    Attributes:
        shown: Number of queries whose neighbours are kept, for a hook that draws them.
        neighbours: Indices of these queries in their data set (q,) and of the nearest images of the
            bank (q, n), nearest first, by the first branch; None until the first score.
    """

    priority = "LOW"

    def __init__(
        self,
        bank: dict | None = None,
        queries: dict | None = None,
        k: int = 20,
        temperature: float = 0.07,
        bank_fraction: float = 0.1,
        interval: int = 20,
        branches: Sequence[str] = ("teacher", "student"),
        first: bool = False,
        precision: str | None = None,
    ) -> None:
        self.loaders = (bank, queries)
        self.k, self.temperature, self.bank_fraction = k, temperature, bank_fraction
        self.interval, self.branches, self.first = interval, tuple(branches), first
        self.precision = check_precision(precision, "OnlineKNNHook precision")
        self.built: tuple | None = None
        self.columns: tuple[int, ...] | None = None
        self.shown = 0
        self.neighbours: tuple[list[int], list[list[int]]] | None = None

    def before_train(self, runner) -> None:
        """Build the loaders and check them before the training starts.

        Raises:
            InputError: If a branch is unknown, the model has none of the branches, the bank lacks a
                class of the queries, or ``k`` exceeds the size of the bank.
        """
        available = branches_of(runner.model)
        if unknown := set(self.branches) - {"student", "teacher"}:
            raise InputError(f"online kNN branches {sorted(unknown)}: choose student and teacher")
        if not (found := tuple(branch for branch in self.branches if branch in available)):
            raise InputError(
                f"online kNN branches {list(self.branches)}: this model has "
                f"{' and '.join(available)}; set the hook's branches accordingly"
            )
        self.branches = found
        try:
            self.built = tuple(
                self._build(runner, *part) for part in enumerate(self._loaders(runner))
            )
        except InputError as error:
            runner.logger.warning(f"online kNN is off, pretraining continues: {error}")
            return
        bank, queries = (loader.dataset for loader in self.built)
        matched = align(names_of(bank, "bank"), names_of(queries, "val"), "all")
        if matched.note:
            runner.logger.info(f"online kNN: {matched.note}")
        self.columns = matched.columns
        if self.k > len(bank):
            raise InputError(
                f"online kNN: k={self.k}, but the bank holds {len(bank)} images: lower k, or raise "
                f"bank_fraction (now {self.bank_fraction}), as in --cfg-options "
                f"{_place(runner)}.k={max(1, len(bank) // 2)}"
            )
        if self.first and runner.iter == 0:
            self._score(runner)

    def after_train_epoch(self, runner) -> None:
        """Score the branches if a score is due."""
        if self.built and (
            self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        ):
            self._score(runner)

    def _loaders(self, runner) -> tuple[dict, dict]:
        """Return the configs of the loaders of bank and queries."""
        settings = runner.cfg if None in self.loaders else {}
        bank, queries = self.loaders
        bank = bank or (settings.get("test_cfg") or {}).get("bank")
        queries = queries or settings.get("test_dataloader")
        if bank is None or queries is None:
            raise InputError(
                "the config has no test_cfg.bank or no test_dataloader, which the online kNN "
                "scores: add them, as in configs/_base_/datasets/toy_bam.py, or set bank and "
                f"queries of {_place(runner)}"
            )
        return bank, queries

    def _build(self, runner, part: int, config: dict):
        config = {**copy.deepcopy(config), "persistent_workers": False}
        config["sampler"] = dict(EVALUATION_SAMPLER)
        config.setdefault("collate_fn", dict(type="default_collate"))
        loader = runner.build_dataloader(config)
        dataset = loader.dataset
        if not dataset.CLASSES:
            raise InputError(f"{dataset.img_prefix} has no class folders, so there are no labels")
        if len(dataset.CLASSES) == 1:
            raise InputError(
                f"{dataset.img_prefix} has a single class folder ({dataset.CLASSES[0]}), so every "
                "prediction would be right"
            )
        if part == 0 and self.bank_fraction < 1:
            labels = torch.as_tensor(dataset.get_gt_labels())
            dataset.get_subset_(balanced_subset(labels, self.bank_fraction).tolist())
        return loader

    def _score(self, runner) -> None:
        assert self.built is not None  # Set in before_train.
        bank_loader, query_loader = self.built
        model: Any = unwrap_model(runner.model)
        available = branches_of(runner.model)
        banks, queries = (
            extract_shards(
                {branch: available[branch] for branch in self.branches},
                model.data_preprocessor,
                loader,
                description=f"kNN {what}",
                whole=what == "queries",
                precision=self.precision,
            )
            for loader, what in ((bank_loader, "bank"), (query_loader, "queries"))
        )
        scores = {}
        for branch in self.branches:
            bank, places, bank_labels = banks[branch]
            rows, _, labels = queries[branch]
            if self.columns is not None:
                labels = labels.new_tensor(self.columns)[labels]
            votes = knn_predict_shards(
                bank,
                places,
                bank_labels,
                rows,
                num_classes=len(bank_loader.dataset.CLASSES),
                ks=[self.k],
                temperature=self.temperature,
            )[self.k]
            # Each process has the votes of its share of the queries.
            right = (votes.argmax(dim=1) == labels[rank() :: world_size()]).sum()
            scores[branch] = 100.0 * sum_over_processes(right).item() / len(labels)
            runner.message_hub.update_scalar(f"knn/{branch}_top1", scores[branch])
        runner.visualizer.add_scalars(
            {f"knn/{branch}_top1": score for branch, score in scores.items()}, step=runner.iter
        )
        if self.shown:
            self._keep_neighbours(banks[self.branches[0]], queries[self.branches[0]].features)
        text = ", ".join(f"{branch} {score:.2f} %" for branch, score in scores.items())
        runner.logger.info(
            f"kNN after {runner.iter} iterations (k={self.k}, bank {len(bank_labels)}, queries "
            f"{len(labels)}): {text}"
        )

    def _keep_neighbours(self, bank: FeatureShard, queries: Tensor) -> None:
        # The first process gets the neighbours of every P-th of them.
        count = min(self.shown * world_size(), len(queries))
        chosen = torch.linspace(0, len(queries) - 1, count).long()
        total = sum_over_processes(torch.tensor(len(bank.features), device=queries.device))
        _, places = nearest_in_shards(
            bank.features,
            bank.rows,
            queries[chosen.to(queries.device)],
            k=min(NEIGHBOURS, int(total)),
            chunk=count,
            dtype=torch.float32,
        )
        self.neighbours = chosen[rank() :: world_size()].tolist(), places.tolist()


def _place(runner) -> str:
    """Return the key of this hook in the config, for messages."""
    hooks = (getattr(runner, "cfg", None) or {}).get("custom_hooks") or []
    numbers = [n for n, hook in enumerate(hooks) if kind_of(hook) == "OnlineKNNHook"]
    return f"custom_hooks.{numbers[0] if numbers else 'N'}"
