"""DAVIS on two gloo processes equals DAVIS on one: tables and masks are equal byte for byte."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test
from bam_mm.registry import MODELS
from tests.distributed.processes import run_processes
from tests.models.davis_stubs import write_videos

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/vos/vit-toy-p8_label-propagation_toy.py"


def evaluate(videos, checkpoint, out, launcher="none"):
    options = {"data_root": str(videos), "model.topk": [3, 5]}
    config = load_config(CONFIG, options)
    args = Namespace(
        config=str(CONFIG), checkpoint=str(checkpoint), work_dir=str(out), launcher=launcher,
        out=str(out / "metrics.json"), cfg_options=options,
    )  # fmt: skip
    out.mkdir(exist_ok=True)
    return run_test(config, args)


def work(rank, world, videos, checkpoint, out):
    evaluate(videos, checkpoint, out, launcher="pytorch")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    # Three videos on two processes: no video may be evaluated twice to fill up the second process.
    root = tmp_path_factory.mktemp("runs")
    videos = write_videos(root / "davis", count=3, frames=5)
    torch.manual_seed(0)
    config = load_config(CONFIG).model
    state = MODELS.build(config).state_dict()
    torch.save({"state_dict": state}, root / "c.pth")
    return root, videos


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_one_process_equals_two(runs):
    root, videos = runs
    one = evaluate(videos, root / "c.pth", root / "one")
    run_processes(work, 2, videos, root / "c.pth", root / "two")
    assert one["davis/videos"] == 3 and one["davis/left_out"] == 0
    first, second = contents(root / "one/davis"), contents(root / "two/davis")
    assert first.keys() == second.keys() and len(first) == 4 + 2 * 3 * 5 + 2 * 2
    assert [name for name in first if first[name] != second[name]] == []
    assert (root / "one/metrics.json").read_text() == (root / "two/metrics.json").read_text()
