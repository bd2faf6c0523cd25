"""Video configs: propagation through a short video and its score."""

from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from tests.models.davis_stubs import write_videos


def run(path, world, work_dir, launcher="none"):
    """Score a video of three frames instead of the longer ones of the toy world."""
    data = world / "one-video"
    if not data.exists():
        write_videos(data, count=1, frames=3)
    options = {
        "data_root": str(data),
        "model.short_side": 64,
        "model.divisor": 32,
        "work_dir": str(work_dir),
    }
    config = load_config(path, options)
    config.launcher = launcher
    config.test_evaluator.overlays = 0
    metrics = build_runner(config).test()
    scores = [value for key, value in metrics.items() if "J&F" in key]
    assert scores and all(0 <= score <= 100 for score in scores)
