"""Test loop for videos."""

from __future__ import annotations

from pathlib import Path

from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from torch.utils.data import DataLoader

from bam_mm.models.feature_table import EVALUATION_SAMPLER
from bam_mm.registry import LOOPS


@LOOPS.register_module()
class VideoTestLoop(TestLoop):
    """mmengine's test loop, with every video on exactly one process.

    A metric whose ``out_dir`` is None writes below the run's ``work_dir``.

    Args:
        runner: Runner of the model to evaluate.
        dataloader: Dataloader of the videos, or its config, whose sampler is replaced.
        evaluator: Evaluator or metrics.
        fp16: mmengine's option for mixed precision; prefer ``model.dtype``.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = {**dataloader, "sampler": dict(EVALUATION_SAMPLER)}
        super().__init__(runner, dataloader, evaluator, fp16)
        for metric in self.evaluator.metrics:
            if getattr(metric, "out_dir", "") is None:
                metric.out_dir = Path(runner.work_dir) / metric.prefix
