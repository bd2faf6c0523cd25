"""`benchmark run methods-toy`: a real pretraining, its evaluation and the report."""

import csv
import json
import statistics

import pytest

from bam_mm.data.toy import make_world
from tests.end_to_end.running import exit_code_of

pytestmark = pytest.mark.slow

QUICK = [
    "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
    "test_dataloader.num_workers=0", "test_cfg.bank.num_workers=0",
    "pretrain:train_cfg.max_epochs=2", "pretrain:train_dataloader.batch_size=12",
    "pretrain:custom_hooks.2.interval=1", "pretrain:custom_hooks.2.k=5",
    "pretrain:default_hooks.logger.interval=1", "knn:test_cfg.k=[5,10,20]",
]  # fmt: skip


def test_a_method_is_pretrained_and_evaluated(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    make_world(tmp_path / "data/toy", scale=0.012)
    work = tmp_path / "w"
    arguments = [
        "run", "methods-toy", "--methods", "bam", "--tasks", "knn", "--data",
        str(tmp_path / "data"), "--work-dir", str(work), "--cfg-options", *QUICK,
    ]  # fmt: skip
    code = exit_code_of("benchmark.py", *arguments)
    text = "".join(capfd.readouterr())
    assert code == 0, text[-3000:]
    made, knn = (
        json.loads((work / f"records/bam/{task}/seed0.json").read_text())
        for task in ("pretrain", "knn")
    )
    # The untrained network, and the two epochs.
    rows = made["pretraining"]["knn"]["teacher"]
    assert [row[0] for row in rows] == [0, 1, 2] and set(made["pretraining"]["knn"]) == {
        "teacher", "student"
    }  # fmt: skip
    seconds = [row[1] for row in rows]
    assert seconds[0] == 0 < seconds[1] < seconds[2] < made["time"]["seconds"]
    # 4 steps of 12 images an epoch.
    speeds = [48 / seconds[1], 48 / (seconds[2] - seconds[1])]
    assert made["metrics"]["images_per_s"] == pytest.approx(statistics.median(speeds))
    assert made["metrics"]["knn/top1"] == rows[-1][2] and made["memory"]["peak_mb"] > 100
    assert len(made["training"]["loss"]) == 8 and "feature_std" in made["training"]
    assert knn["proof"]["file_sha256"] == made["checkpoint"]["sha256"]
    assert knn["proof"]["prefix"] == "teacher.backbone."
    [row] = csv.DictReader((work / "report/leaderboard.csv").open())
    assert row["model"] == "BAM" and float(row["knn:knn_k20/top1 mean"]) > 0
    assert float(row["pretrain:minutes mean"]) == pytest.approx(seconds[-1] / 60)
    assert "Accuracy over epochs, and over time" in (work / "report/index.html").read_text()
