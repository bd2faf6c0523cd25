"""kNN classification as a test loop, so that ``tools/test.py`` scores a pretraining checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from bam_mm.errors import InputError
from bam_mm.evaluation import knn_predict
from bam_mm.models.bam import bam_of
from bam_mm.models.extraction import EVALUATION_SAMPLER, extract_features
from bam_mm.registry import LOOPS


@LOOPS.register_module()
class KNNTestLoop(BaseLoop):
    """DINO's kNN protocol on frozen features: bank = training images, queries = test images.

    The bank is gathered on every process; each process answers its own queries and the evaluator
    collects them, so many processes give the numbers of one.

    Args:
        runner: The runner.
        dataloader: Loader of the queries.
        evaluator: Metrics on ``pred_score``, such as mmpretrain's ``Accuracy``.
        bank: Loader of the bank.
        k: Numbers of neighbours, each reported as ``knn_k<k>/<metric>``.
        temperature: Of the votes.
        branch: ``teacher`` or ``student``.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        bank: dict,
        k: Sequence[int] = (10, 20, 100, 200),
        temperature: float = 0.07,
        branch: str = "teacher",
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = {**dataloader, "sampler": dict(EVALUATION_SAMPLER)}
        super().__init__(runner, dataloader)
        self.evaluator = (
            evaluator if isinstance(evaluator, Evaluator) else runner.build_evaluator(evaluator)
        )
        self.bank = runner.build_dataloader({**bank, "sampler": dict(EVALUATION_SAMPLER)})
        self.k = [k] if isinstance(k, int) else list(k)
        self.temperature, self.branch = temperature, branch
        if max(self.k) > len(self.bank.dataset):
            raise InputError(
                f"kNN with k={max(self.k)}, but the bank holds {len(self.bank.dataset)} images: "
                "lower k with --cfg-options test_cfg.k=20"
            )

    def run(self) -> dict[str, float]:
        """Extract, predict, evaluate."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        model = bam_of(self.runner.model)
        backbone = model.branch(self.branch)
        bank, bank_labels = extract_features(
            backbone, model.data_preprocessor, self.bank, description="kNN bank", gather=True
        )
        queries, labels = extract_features(
            backbone,
            model.data_preprocessor,
            self.dataloader,
            description="kNN queries",
            gather=False,
        )
        metrics = {}
        for k in self.k:
            scores = knn_predict(
                bank,
                bank_labels,
                queries,
                num_classes=len(self.bank.dataset.CLASSES),
                k=k,
                temperature=self.temperature,
            )
            samples = [
                DataSample().set_gt_label(int(label)).set_pred_score(score)
                for label, score in zip(labels, scores, strict=True)
            ]
            self.evaluator.process(data_samples=samples)
            for name, value in self.evaluator.evaluate(len(self.dataloader.dataset)).items():
                metrics[f"knn_k{k}/{name.removeprefix('accuracy/')}"] = value
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics
