"""Test loop for kNN classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_objects, rank, world_size
from bam_mm.errors import InputError
from bam_mm.evaluation import UnitScores, knn_predict_shards
from bam_mm.protocols.feature_loop import FeatureLoop, numbers
from bam_mm.protocols.tables import print_rows, write_rows
from bam_mm.protocols.unit_scores import classification_scores, ranked_classes
from bam_mm.registry import LOOPS


@LOOPS.register_module()
class KNNTestLoop(FeatureLoop):
    """DINO's kNN protocol on frozen features.

    The training images are the bank, the test images the queries. The bank is distributed over the
    processes: each one compares all queries with its rows, the lists of the nearest rows are
    merged, and the evaluator collects the predictions. The metrics do not depend on the number of
    processes. The table is written to ``WORK_DIR/knn/knn.csv`` and ``.json``.

    Args:
        runner: Runner of a :class:`~bam_mm.models.bam.BAM` or a
            :class:`~bam_mm.models.frozen_features.FrozenFeatures` model.
        dataloader: Dataloader of the queries, or its config.
        evaluator: Evaluator or metrics that read ``pred_score``, such as mmpretrain's ``Accuracy``.
        bank: Config of the bank's dataloader.
        k: Number of neighbours, or several. Each is reported as ``knn_k<k>/<metric>``.
        temperature: Temperature of the votes: a neighbour has weight exp(cosine / temperature).
        chunk: Number of queries to compare at a time, see :func:`~bam_mm.evaluation.knn_predict`.
        branch: Branch of a BAM model to evaluate, ``teacher`` or ``student``.
        cache_dir: Folder of the feature cache; None disables the cache.
        feature_dtype: Type in which features are stored, ``float32`` or ``float16``, which needs
            half the memory. Similarities are always computed in float32.
        precision: Precision in which the backbone computes, see
            :class:`~bam_mm.protocols.feature_loop.FeatureLoop`.
        classes: Classes that are compared if the test images have not all of them, see
            :class:`~bam_mm.protocols.feature_loop.FeatureLoop`.

    Raises:
        InputError: If k exceeds the size of the bank, a class has no image in the bank, or the
            classes of bank and queries differ.
    """

    name = "knn"

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        bank: dict,
        k: int | Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        chunk: int = 1024,
        branch: str = "teacher",
        cache_dir: str | None = None,
        feature_dtype: str = "float32",
        precision: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(
            runner,
            dataloader,
            evaluator,
            loaders={"bank": bank},
            cache_dir=cache_dir,
            branch=branch,
            feature_dtype=feature_dtype,
            precision=precision,
            classes=classes,
        )
        self.k = numbers("k", k)
        self.temperature, self.chunk = temperature, chunk
        images = len(self.loaders["bank"].dataset)
        if max(self.k) > images:
            raise InputError(
                f"kNN with k={max(self.k)}, but the bank holds {images} images: lower k, as in "
                f"--cfg-options test_cfg.k={min(20, max(1, images // 2))}"
            )

    def score(self) -> dict[str, float]:
        """Compute the similarities once and evaluate the predictions of every k."""
        bank, places, bank_labels = self.shard("bank")
        self.check_every_class("bank", bank_labels)
        queries, labels = self.features("test")
        images = len(queries)
        scores = knn_predict_shards(
            bank,
            places,
            bank_labels,
            queries,
            num_classes=self.num_classes,
            ks=self.k,
            temperature=self.temperature,
            chunk=self.chunk,
        )
        everyones, labels = labels, labels[rank() :: world_size()]
        metrics, rows = dict(self.matched.counts), []
        units: dict[str, UnitScores] = {}
        for k in self.k:
            samples = [
                DataSample().set_gt_label(int(label)).set_pred_score(score)
                for label, score in zip(labels, scores[k], strict=True)
            ]
            self.evaluator.process(data_samples=samples)
            named = {
                name.removeprefix("accuracy/"): value
                for name, value in self.evaluator.evaluate(images).items()
            }
            metrics.update({f"knn_k{k}/{name}": value for name, value in named.items()})
            rows.append({"k": k, **named})
            for name, score in self._units(scores[k], everyones).items():
                units[f"knn_k{k}/{name.removeprefix('accuracy/')}"] = score
        self.write_units(units)
        if is_main_process():
            write_rows(self.out_dir / "knn.csv", rows)
            print_rows(f"kNN, bank {len(bank_labels)}, queries {images} (%)", rows)
        return metrics

    def _units(self, scores: Tensor, labels: Tensor) -> dict[str, UnitScores]:
        """The scores of all images, of which this process has every P-th."""
        parts = gather_objects(ranked_classes(self.evaluator.metrics, scores))
        ranked = torch.empty((len(labels), parts[0].shape[1]), dtype=torch.int64)
        for process, part in enumerate(parts):
            ranked[process :: world_size()] = part
        return classification_scores(
            self.evaluator.metrics, ranked, labels, num_classes=self.num_classes
        )
