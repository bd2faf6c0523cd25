"""Video score of a checkpoint, compared with its bounds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bam_mm import DAVISDataset, InputError
from bam_mm.evaluation import davis_j_and_f, davis_summary, read_out
from bam_mm.launch.config import load_config
from bam_mm.protocols.video_bounds import NAMED, RANDOM, TRUTH, compare_features
from bam_mm.registry import MODELS
from tests.end_to_end.running import exit_code_of
from tests.models.davis_stubs import write_videos

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/vos/vit-toy-p8_label-propagation_toy.py"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), count=2, frames=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(7)
    model = MODELS.build(load_config(CONFIG).model)
    path = tmp_path_factory.mktemp("checkpoint") / "bam.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def test_each_row_scores_its_features(videos, checkpoint, tmp_path, capsys):
    out = tmp_path / "scores.json"
    options = [f"data_root={videos}", "model.stride=8"]
    arguments = [CONFIG, checkpoint, "--seed", 7, "--out", out, "--cfg-options", *options]
    assert exit_code_of("compare_videos.py", *arguments) == 0
    printed = capsys.readouterr().out
    scores = json.loads(out.read_text())
    assert list(scores) == [TRUTH, NAMED, str(checkpoint), RANDOM]
    data = DAVISDataset(str(videos)).videos
    assert len({s["objects"] for s in scores.values()}) == 1
    assert scores[TRUTH]["objects"] == sum(len(np.unique(v.annotation(0))) - 1 for v in data)
    assert f"{100 * scores[NAMED]['J&F']:.1f}" in printed

    # The same bound in another way: count the shares of 8 x 8 pixels.
    measures = []
    for video in data:
        truth = video.truth()
        shares = F.one_hot(torch.from_numpy(truth).long()).double()
        cells = shares.unflatten(1, (15, 8)).unflatten(3, (25, 8)).mean((2, 4))
        read = [read_out(s.permute(2, 0, 1), patch_size=8).numpy() for s in cells]
        measures += davis_j_and_f(truth, np.stack([truth[0], *read[1:]]))
    assert scores[TRUTH]["J&F"] == pytest.approx(davis_summary(measures)["J&F"], abs=1e-3)
    assert scores[NAMED]["J&F"] < scores[TRUTH]["J&F"]
    assert scores[RANDOM]["J&F"] < scores[NAMED]["J&F"] - 0.2

    # The checkpoint's row is the score of its features.
    model = MODELS.build(load_config(CONFIG, {"model.stride": 8}).model).eval()
    model.load_pretrained(checkpoint)
    predicted = [model.predict(v)["predictions"][5, 7] for v in data]
    pairs = zip(data, predicted, strict=True)
    direct = davis_summary([o for v, p in pairs for o in davis_j_and_f(v.truth(), p)])
    assert scores[str(checkpoint)]["J&F"] == pytest.approx(direct["J&F"], abs=1e-6)
    assert scores[str(checkpoint)] != scores[RANDOM]


def test_videos_without_annotations_have_no_bounds(videos, checkpoint):
    options = {"data_root": str(videos), "test_dataloader.dataset.annotated": "first"}
    with pytest.raises(InputError, match=r"leave .*annotated at 'all'"):
        compare_features(load_config(CONFIG, options), checkpoint)
