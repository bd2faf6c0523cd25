"""Records as a benchmark run writes them, and a suite for them."""

from pathlib import Path

from bam_mm.suite.definitions import load_suite
from bam_mm.suite.records import record_path, write_json

SUITE = """
title = "A <small> suite"
about = "for tests"
tasks = [
    dict(
        name="knn", title="kNN", about="votes", kind="test",
        config="configs/cls/vit-toy-p8_knn_toy.py", cost="nothing",
        data=dict(title="toy", root="toy/images"), steady=True,
        metrics={
            "knn_k20/top1": dict(label="top-1", main=True, published="linear"),
            "knn_k10/top1": "top-1, k=10",
        },
        curves=[dict(file="knn/knn.json", x="k", y=["top1"], labels=["k", "top-1 (%)"], log=True)],
    ),
    dict(
        name="video", title="Video", about="masks", kind="test",
        config="configs/vos/vit-toy-p8_label-propagation_toy.py", cost="nothing",
        data=dict(title="toy", root="toy/davis"),
        metrics={
            "davis/J&F": dict(label="J&F", main=True, scale=100),
            "davis/error": dict(label="error", main=True, better="lower", form=".2f"),
        },
        pictures=[dict(pattern="davis/*.png", caption="a strip")],
    ),
]
"""


def write_suite(folder):
    path = Path(folder) / "small.py"
    path.write_text(SUITE)
    return load_suite(path)


def made(folder, model, task, seed, metrics, **changes):
    """Write a record in which ``changes`` replace entries."""
    record = {
        "format": 1, "suite": "small", "task": task, "variant": "any", "kind": "test",
        "slug": model.replace(" ", "-"), "spec": f"bam:/{model}.pth", "seed": seed,
        "model": {
            "name": model, "kind": "bam", "branch": "teacher", "sha256": 64 * "a",
            "backbone": {"type": "mmpretrain.ResNet", "depth": 50},
        },
        "status": "done", "message": "", "metrics": metrics,
        "protocol": {"test_cfg": {"k": [10, 20]}}, "protocol_digest": "0123", "data": {},
        "limit": None, "versions": {"torch": "2"}, "git": {"commit": 40 * "b", "changed": False},
        "hardware": {"system": "x", "cpu": "y", "cores": 2}, "adapted": [],
        "time": {"seconds": 3.0, "starts": 1, "finished": "now"}, "processes": 1,
        "devices": ["cpu"], "memory": {"peak_mb": 100.0, "peak_gpu_mb": None}, "curves": [],
        "training": {}, "pictures": [], "checkpoint": {"path": "", "sha256": 64 * "a"},
        "proof": {"loaded": 12, "layout": "BAM", "resized": [], "file_sha256": 64 * "a"},
        **changes,
    }  # fmt: skip
    write_json(record_path(Path(folder), record["slug"], task, seed), record)
    return record


def write_large_suite(folder, tasks=10):
    """Write a suite of which every task has a score, a score that is lower if better, a setting."""
    entries = [
        dict(
            name=f"task{n}", title=f"Protocol {n}", about="a protocol", kind="test", cost="nothing",
            config="configs/cls/vit-toy-p8_knn_toy.py",
            data=dict(title="toy", root="toy/images"),
            metrics={
                "score": dict(label="top-1", main=True),
                "error": dict(label="error", better="lower", form=".2f"),
                "rate": dict(label="learning rate chosen", form=".3g", better="neither"),
            },
        )
        for n in range(tasks)
    ]  # fmt: skip
    path = Path(folder) / "large.py"
    path.write_text(f"title = 'A large suite'\nabout = 'for tests'\ntasks = {entries!r}\n")
    return load_suite(path)


def make_many(folder, models=20, tasks=10):
    """Write a record with an interval, curves and a cost for each of many models and tasks."""
    for model in range(models):
        name = f"method {model % 5} vit-{'small' if model % 2 else 'base'}-p16 {model:02}"
        for task in range(tasks):
            score = 40 + (7 * model + 13 * task) % 37 + 0.5 * task
            loss = [[100 * step, 5.0 / (1 + step) + 0.1 * model] for step in range(200)]
            made(
                folder, name, f"task{task}", 0, place=model,
                metrics={"score": score, "error": 100 - score, "rate": 10.0 ** -(model % 4)},
                intervals={"score": {"interval": [score - 1.25, score + 1.25]}},
                training={"loss": loss},
                curves=[
                    {
                        "labels": ["k", "top-1 (%)"], "log": True, "x": [10, 20, 100, 200],
                        "y": [[score - 2, score, score - 1, score - 3]],
                    }
                ],
                cost=dict(
                    size=[224, 224], parameters=10**6 * (5 + 4 * model), gmacs=0.4 * 1.25**model,
                    images_per_s=None if task else 5000.0 / (1 + model),
                    read_images_per_s=None if task else 4000.0 / (1 + model),
                    peak_mb=None if task else 900.0 + model, peak_gpu_mb=None,
                ),
                precision="float32",
            )  # fmt: skip
