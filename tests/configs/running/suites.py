"""A suite: each of its tasks names a config, and metrics that this config can give."""

from bam_mm.launch.config import load_config
from bam_mm.suite.definitions import load_suite

GIVEN = {
    "KNNTestLoop": "knn_k{k}/top1",
    "ClusteringLoop": "clustering_k{num_classes}/nmi",
}
"""A metric of loops by the option that names it."""

DENSE = {
    "det": ("CocoMetric", {"coco/bbox_mAP", "coco/segm_mAP"}),
    "seg": ("IoUMetric", {"mIoU", "mAcc", "aAcc"}),
}
"""Evaluators and metrics by the folder of the config."""


def run(path, world, work_dir):
    """Load every task's configs, and look for its numbers in their options."""
    for task in load_suite(path).tasks:
        for file in task.config.values():
            config = load_config(file, {**task.options})
            # What the benchmark puts in: data, seed and backbone.
            assert "data_root" in config and config.model.backbone.type and config.randomness
            loop = config.test_cfg
            keys = {metric.key for metric in task.metrics}
            name = str(loop.get("type", "")).rpartition(".")[2]
            if name in GIVEN:
                option = GIVEN[name].partition("{")[2].partition("}")[0]
                given = {GIVEN[name].format(**{option: n}) for n in loop[option]}
                assert {key for key in keys if key.endswith(("top1", "nmi"))} <= given
            elif name == "LogisticRegressionLoop":
                assert f"logreg/{loop.metric}" in keys
            elif name == "VideoTestLoop":
                assert "davis/J&F" in keys
            else:
                if file.parent.name in DENSE:
                    assert task.kind == "train" and "checkpoint" in config
                    assert config.test_evaluator.type == DENSE[file.parent.name][0]
                    assert keys >= DENSE[file.parent.name][1]
                    continue
                kinds = config.test_evaluator
                kinds = [e.type for e in (kinds if isinstance(kinds, list) else [kinds])]
                assert task.kind == "train" and "checkpoint" in config
                assert ("accuracy/top1" in keys and "Accuracy" in kinds) or (
                    "single-label/recall" in keys and "SingleLabelMetric" in kinds
                )
            for seed in task.seeds:
                assert seed.partition(".")[0] in config
