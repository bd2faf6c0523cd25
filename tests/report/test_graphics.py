"""Charts of the pretraining logs that lie next to the models' checkpoints."""

import json

import pytest

from bam_mm.report.graphics import pretraining_charts


def record(folder, name, scalars):
    log = folder / name / "1/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps({"step": 5, key: v}) + "\n" for key, v in scalars.items()))
    model = {"name": name, "kind": "bam"}
    checkpoint = {"path": str(folder / name / "epoch_1.pth")}
    return {"slug": name, "model": model, "kind": "test", "checkpoint": checkpoint}


@pytest.mark.parametrize("with_simclr", [True, False])
def test_the_students_knn_is_drawn_where_a_model_has_no_teacher(tmp_path, with_simclr):
    both = {"knn/teacher_top1": 40.0, "knn/student_top1": 30.0, "loss": 2.0}
    records = [record(tmp_path, "BAM", both)]
    if with_simclr:
        records.append(record(tmp_path, "SimCLR", {"knn/student_top1": 35.0}))
    charts = {chart["y_label"]: chart["series"] for chart in pretraining_charts(records)}
    assert charts["loss (nats)"] == {"BAM": [[5, 2.0]]}
    assert charts["kNN top-1, teacher (%)"] == {"BAM": [[5, 40.0]]}
    student = {"BAM": [[5, 30.0]], "SimCLR": [[5, 35.0]]} if with_simclr else None
    assert charts.get("kNN top-1, student (%)") == student
