"""Fewer classes than a top-k accuracy needs."""

import pytest
import torch
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from mmpretrain.models import LinearClsHead
from mmpretrain.structures import DataSample

from bam_mm.data.checks import few_classes
from bam_mm.data.checks.few_classes import fit_topk


@pytest.mark.parametrize(
    ("topk", "classes", "kept"),
    [((1, 5), 2, (1,)), ((1, 3, 5), 4, (1, 3)), ((1, 5), 5, (1, 5)), (5, 3, (1,)), ((1,), 2, (1,))],
)
def test_accuracies_that_remain(topk, classes, kept, monkeypatch):
    logged = []
    monkeypatch.setattr(few_classes, "print_log", lambda text, logger: logged.append(text))
    metric, other = Accuracy(topk=topk), SingleLabelMetric()
    fit_topk([metric, other], classes)
    assert metric.topk == kept
    fit_topk([metric], classes)
    assert logged == ([] if kept == topk else [f"{classes} classes: top-5 accuracy is left out"])
    samples = [
        DataSample().set_gt_label(label).set_pred_score(torch.eye(classes)[label])
        for label in range(classes)
    ]
    metric.process({}, [sample.to_dict() for sample in samples])
    assert metric.evaluate(classes) == {f"accuracy/top{k}": 100 for k in kept}


def test_accuracies_of_a_head_in_training():
    head = LinearClsHead(num_classes=3, in_channels=2, topk=(1, 5), cal_acc=True)
    fit_topk([head], 3)
    samples = [DataSample().set_gt_label(label) for label in range(3)]
    losses = head.loss((torch.randn(3, 2),), samples)
    assert set(losses) == {"loss", "accuracy_top-1"}
