"""Suites: each task names a config and metrics that this config returns."""

from bam_mm.launch.config import load_config
from bam_mm.suite.definitions import load_suite
from bam_mm.suite.methods import PRETRAIN

METRICS = {
    "KNNTestLoop": "knn_k{k}/top1",
    "ClusteringLoop": "clustering_k{num_classes}/nmi",
}
"""Metric of each test loop, with the option of the loop that it depends on."""

DENSE = {
    "det": ("CocoMetric", {"coco/bbox_mAP", "coco/segm_mAP"}),
    "seg": ("IoUMetric", {"mIoU", "mAcc", "aAcc"}),
}
"""Evaluator and metrics of each folder of configs."""


def run(path, world, work_dir):
    """Load the configs of every task and check that they return the task's metrics."""
    suite = load_suite(path)
    for method in suite.methods:
        config = load_config(method.config, {**method.options})
        hooks = [hook.type for hook in config.custom_hooks]
        # Accuracy over the epochs, and what the benchmark changes.
        assert "bam_mm.OnlineKNNHook" in hooks and "data_root" in config and config.randomness
        assert config.train_cfg.max_epochs and config.model.backbone.type
    for task in suite.tasks:
        if task.kind == PRETRAIN:
            continue
        for file in task.config.values():
            config = load_config(file, {**task.options})
            # The settings that the benchmark changes: data, backbone and seed.
            assert "data_root" in config and config.model.backbone.type and config.randomness
            loop = config.test_cfg
            keys = {metric.key for metric in task.metrics}
            name = str(loop.get("type", "")).rpartition(".")[2]
            if name in METRICS:
                option = METRICS[name].partition("{")[2].partition("}")[0]
                returned = {METRICS[name].format(**{option: n}) for n in loop[option]}
                assert {key for key in keys if key.endswith(("top1", "nmi"))} <= returned
            elif name == "LogisticRegressionLoop":
                assert f"logreg/{loop.metric}" in keys
            elif name == "DenseKNNTestLoop":
                assert task.kind == "test" and config.test_evaluator.type == "IoUMetric"
                assert keys == {"mIoU", "mAcc", "aAcc", "chance/mIoU"}
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
