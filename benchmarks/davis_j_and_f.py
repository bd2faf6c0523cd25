"""Time and memory of ``davis_j_and_f``, compared with a frame-by-frame full-image implementation.

    python benchmarks/davis_j_and_f.py

The videos have 480p, moving objects of several sizes and predictions of different quality,
including one that is scattered over the whole image. Times are medians of alternating runs. OpenCV,
which only the baseline uses, runs on one thread. Extra memory is the growth of the peak resident
size during one call, in a fresh process for each implementation, after the videos are created.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.evaluation.jaccard_boundary import davis_j_and_f
from benchmarks.baselines.frame_by_frame_j_and_f import frame_by_frame_j_and_f
from benchmarks.measuring import (
    add_json_option,
    alternate,
    extra_memory,
    in_fresh_process,
    write_json,
)

# By name: number of objects, half their height in pixels, roughness of the predicted outline.
VIDEOS = {
    "3 objects, good outline": (3, 65, 4),
    "5 small objects": (5, 30, 3),
    "1 object over half the image": (1, 190, 10),
    "2 objects, scattered prediction": (2, 150, 60),
}


def make_video(objects: int, size: float, roughness: float, frames: int):
    """Draw moving ellipses, and a prediction whose outline is distorted by smooth noise."""
    height, width = 480, 854
    y, x = np.mgrid[:height, :width]
    r = np.random.RandomState(0)
    truth, prediction = np.zeros((2, frames, height, width), np.uint8)
    for object_id in range(1, objects + 1):
        cy, cx = r.uniform(0.35, 0.65) * height, r.uniform(0.3, 0.7) * width
        vy, vx = r.uniform(-3, 3, 2)
        a, b = size * r.uniform(0.8, 1.2), 1.5 * size * r.uniform(0.8, 1.2)
        for t in range(frames):
            noise = cv2.resize(r.randn(30, 54), (width, height), interpolation=cv2.INTER_CUBIC)
            distance = ((y - cy - vy * t) / a) ** 2 + ((x - cx - vx * t) / b) ** 2
            truth[t][distance <= 1] = object_id
            prediction[t][distance * (1 + roughness * noise / a) <= 1] = object_id
    return truth, prediction


def measure_memory(which: str, name: str, frames: int) -> float:
    """Return the extra memory of one call in MiB, after a call on a small video."""
    call = {"ours": davis_j_and_f, "baseline": frame_by_frame_j_and_f}[which]
    video = make_video(*VIDEOS[name], frames)
    call(*(part[:3, ::8, ::8] for part in video))
    return extra_memory(lambda: call(*video))


def main() -> None:
    """Run the comparison and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", nargs=2, help="print only extra MiB: ours or baseline, video")
    add_json_option(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.memory:
        print(measure_memory(*args.memory, args.frames))
        return

    ratios, figures = {}, {}
    for name, settings in VIDEOS.items():
        truth, prediction = make_video(*settings, args.frames)
        result = davis_j_and_f(truth, prediction)
        equal = result == frame_by_frame_j_and_f(truth, prediction)
        j, f = (np.mean([row[key] for row in result]) for key in ("J_mean", "F_mean"))
        print(f"{name} (J {j:.2f}, F {f:.2f}): values {'equal' if equal else 'DIFFER'}")

        fast, slow, ratio = alternate(
            lambda video=(truth, prediction): davis_j_and_f(*video),
            lambda video=(truth, prediction): frame_by_frame_j_and_f(*video),
            runs=args.runs,
        )
        per_frame = 1e3 / len(result) / (args.frames - 2)
        print(
            f"  time: ours {fast * per_frame:.2f} ms, baseline {slow * per_frame:.2f} ms "
            f"per object and frame, ratio {ratio:.1f}"
        )
        ours_mib, baseline_mib = (
            in_fresh_process(__file__, "--frames", args.frames, "--memory", which, name)
            for which in ("ours", "baseline")
        )
        print(f"  extra memory: ours {ours_mib:.1f} MiB, baseline {baseline_mib:.1f} MiB")
        ratios[f"time, {name}"] = ratio
        figures[name] = {"equal": equal, "ms": fast * per_frame, "MiB": ours_mib}
    write_json(args.json, ratios, figures)


if __name__ == "__main__":
    main()
