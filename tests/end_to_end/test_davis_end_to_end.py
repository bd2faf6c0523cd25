"""tools/test.py on DAVIS videos: files, log messages and exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from bam_mm.data.toy.davis import HEIGHT, WIDTH
from bam_mm.launch.config import load_config
from bam_mm.registry import MODELS
from tests.data.test_davis import FAULTS
from tests.models.davis_stubs import write_videos

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/vos/vit-toy-p8_label-propagation_toy.py"
FAULTY = (
    "no first annotation",
    "frames of different sizes",
    "annotation of another size",
    "one frame",
    "annotation in colours",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "bam.pth"
    torch.manual_seed(0)
    state = MODELS.build(load_config(CONFIG).model).state_dict()
    teacher = {f"teacher.{k}": v for k, v in state.items()}
    # As in a BAM checkpoint, with a student of zeros: the scores show which branch is used.
    student = {k: torch.zeros_like(v) for k, v in state.items()}
    torch.save({"state_dict": {**student, **teacher, "neck.fc.weight": torch.ones(2)}}, path)
    return path


def run(checkpoint, data, out, *options):
    command = [
        sys.executable, str(ROOT / "tools/test.py"), str(CONFIG), str(checkpoint),
        "--work-dir", str(out), "--out", str(out / "metrics.json"),
        "--cfg-options", f"data_root={data}", *options,
    ]  # fmt: skip
    out.mkdir(exist_ok=True)
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip


def test_faulty_videos_are_left_out_and_the_exit_code_is_1(checkpoint, tmp_path):
    data = write_videos(tmp_path / "davis", count=2, frames=5)
    for kind in ("JPEGImages", "Annotations"):
        (data / kind / "480p/v0").rename(data / kind / "480p/good")
    messages = {}
    for number, fault in enumerate(FAULTY):
        # Each fault breaks the video named "a"; it is then moved out of the way.
        for kind in ("JPEGImages", "Annotations"):
            source, target = data / kind / "480p/v1", data / kind / "480p/a"
            target.mkdir()
            for path in source.iterdir():
                (target / path.name).write_bytes(path.read_bytes())
        FAULTS[fault][0](data)
        for kind in ("JPEGImages", "Annotations"):
            (data / kind / "480p/a").rename(data / kind / f"480p/bad{number}")
        messages[f"bad{number}"] = FAULTS[fault][1][0].replace("1 of 4", "1 of 5")
    cut = data / "JPEGImages/480p/v1/00002.jpg"
    cut.write_bytes(cut.read_bytes()[:900])  # Found only when the frame is decoded.

    result = run(checkpoint, data, tmp_path / "out", 'model.topk="[3,5]"')
    text = result.stdout + result.stderr
    assert result.returncode == 1 and "Traceback" not in text, text[-3000:]
    log = result.stderr.splitlines() + result.stdout.splitlines()
    for name, message in messages.items():
        lines = [line for line in log if f"left out: video {name}:" in line]
        assert len(lines) == 1 and message in lines[0], (name, message, lines)
    assert len([line for line in log if "left out: video v1: frame" in line]) == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "6 items of the data set left out" in errors[0]

    # The other videos were scored.
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["davis/videos"] == 1 and metrics["davis/left_out"] == 6
    assert metrics["davis/J&F"] == metrics["davis/k3_n7/J&F"] > 0
    table = (tmp_path / "out/davis/global.csv").read_text().splitlines()
    assert [line[:4] for line in table[1:]] == ["3,7,", "5,7,"]
    with Image.open(tmp_path / "out/davis/k5_n7/good/00004.png") as mask:
        assert mask.mode == "P" and mask.size == (WIDTH, HEIGHT)
    assert "(teacher.backbone.*; BAM" in text


def test_a_checkpoint_of_another_backbone_stops_before_any_video(checkpoint, tmp_path):
    data = write_videos(tmp_path / "davis", count=1, frames=4)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state["teacher.backbone.ln1.bias"]
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    result = run(tmp_path / "other.pth", data, tmp_path / "out")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 1 and len(errors) == 1 and "Traceback" not in result.stderr
    assert "1 missing: ln1.bias" in errors[0]
    assert not (tmp_path / "out/davis").exists()
