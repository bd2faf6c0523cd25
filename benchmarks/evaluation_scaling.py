"""Plot the growth of the cost of each evaluation with its size, for ours and the baseline.

    python benchmarks/evaluation_scaling.py
    python benchmarks/evaluation_scaling.py --only knn --runs 3

The plots docs/images/bench_<evaluation>.png show processor time, on which other work on the machine
has little effect, and for kNN also the extra memory. Both axes are logarithmic. Each point is the
median of alternating runs, after a first run that is not counted. The script also prints the
exponent of the growth between the last two sizes.
"""

import argparse
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.evaluation.jaccard_boundary import davis_j_and_f
from bam_mm.protocols.plots import COLOURS, plt, save_figure
from benchmarks import davis_j_and_f as j_and_f_bench
from benchmarks import feature_extraction as extraction_bench
from benchmarks import knn as knn_bench
from benchmarks import label_propagation as propagation_bench
from benchmarks import logistic_regression as logistic_bench
from benchmarks.baselines.frame_by_frame_j_and_f import frame_by_frame_j_and_f
from benchmarks.measuring import alternate, cpu_seconds, in_fresh_process

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
Point = tuple[float, Callable, Callable]
"""Size, a function that runs our implementation, and one that runs the baseline."""


def feature_extraction() -> Iterator[Point]:
    """Vary the number of training images; three protocols on a small transformer."""
    for images in (16, 32, 64, 128):
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder) / "images", Path(folder) / "cache"
            for split, count in (("train", images), ("test", images // 2)):
                extraction_bench.write_images(root, split, count)
            bench = extraction_bench.Bench(root, "deit-tiny")
            yield images, lambda b=bench, c=cache: b.all(c), lambda b=bench: b.all(None)


def knn() -> Iterator[Point]:
    """Vary the number of rows in a bank of 768-d features, with 512 queries."""
    queries, _ = knn_bench.make_table(512, 768, torch.float32, 1)
    for rows in (4_000, 16_000, 64_000, 256_000):
        table = (*knn_bench.make_table(rows, 768, torch.float32, 0), queries)
        yield rows, lambda t=table: knn_bench.ours(*t), lambda t=table: knn_bench.dense(*t)


def logistic_regression() -> Iterator[Point]:
    """Vary the number of training images; 128 features, 10 classes, 45 penalties."""
    for rows in (250, 500, 1000, 2000, 4000):
        tables = logistic_bench.make_tables(rows, 128, 10)
        yield (
            rows,
            lambda t=tables: logistic_bench.ours(t, 10, 1e-5, 1000),
            lambda t=tables: logistic_bench.cold(t, 1e-5, 1000),
        )


def label_propagation() -> Iterator[Point]:
    """Vary the number of patches of a frame; 384-d features, 4 context frames."""
    for grid in ((15, 27), (21, 38), (30, 54), (42, 76)):
        inputs = (*propagation_bench.make_inputs(grid, 384, 4), grid)
        mask = propagation_bench.window_mask(grid)
        yield (
            grid[0] * grid[1],
            lambda i=inputs: propagation_bench.ours(*i),
            lambda i=inputs, m=mask: propagation_bench.dense(*i, m),
        )


def j_and_f() -> Iterator[Point]:
    """Vary the number of pixels of 12 frames, with three objects that grow with them."""
    settings = j_and_f_bench.VIDEOS["3 objects, good outline"]
    for factor in (0.25, 0.5, 1, 2):
        truth, prediction = (
            _resized(part, factor) for part in j_and_f_bench.make_video(*settings, 12)
        )
        yield (
            truth[0].size,
            lambda t=truth, p=prediction: davis_j_and_f(t, p),
            lambda t=truth, p=prediction: frame_by_frame_j_and_f(t, p),
        )


def _resized(video, factor: float):
    size = round(video.shape[2] * factor), round(video.shape[1] * factor)
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_NEAREST) for f in video]
    return np.stack(frames)


SUBJECTS = {
    "feature_extraction": (
        feature_extraction,
        "training images (500 x 400 JPEG, three protocols)",
        "each protocol for itself",
    ),
    "knn": (knn, "rows of the bank (768-d, 512 queries)", "all similarities at once"),
    "logistic_regression": (
        logistic_regression,
        "training images (128 features, 10 classes, 45 penalties)",
        "scikit-learn, each penalty from zero",
    ),
    "label_propagation": (
        label_propagation,
        "patches of a frame (384-d, 4 context frames)",
        "dense, masked",
    ),
    "j_and_f": (j_and_f, "pixels of a frame (3 objects, 12 frames)", "frame by frame, full images"),
}


def measure(points: Iterator[Point], runs: int) -> dict[str, list[float]]:
    """Return the sizes and the processor seconds of both, and print a line for each size."""
    table: dict[str, list[float]] = {"size": [], "ours": [], "baseline": []}
    for size, ours, baseline in points:
        fast, slow, ratio = alternate(ours, baseline, runs, cpu_seconds)
        print(f"  {size:>9,}: ours {fast:.3f} s, baseline {slow:.3f} s, ratio {ratio:.2f}")
        for name, value in zip(table, (size, fast, slow), strict=True):
            table[name].append(value)
    return table


def knn_memory(sizes: list[float], threads: int) -> dict[str, list[float]]:
    """Return the extra MiB of both at each size, measured in fresh processes."""
    script = Path(knn_bench.__file__)
    settings = ["--queries", 512, "--threads", threads]
    return {
        which: [
            in_fresh_process(script, "--memory", which, "--rows", rows, *settings) for rows in sizes
        ]
        for which in ("ours", "dense")
    }


def growth(sizes: list[float], values: list[float]) -> float:
    """Return the exponent between the last two sizes; 1 if the cost is proportional to size."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def plot(panels: list[tuple[str, dict[str, list[float]]]], sizes, label: str, out: Path) -> None:
    """Plot curves over the sizes, one panel per quantity, with a line of slope 1 for comparison."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 3.4), constrained_layout=True, squeeze=False
    )
    for axis, (quantity, curves) in zip(axes[0], panels, strict=True):
        for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
            axis.loglog(sizes, values, color=colour, marker="o", ms=4, label=name)
        lowest = min(values[0] for values in curves.values())
        straight = [0.6 * lowest * size / sizes[0] for size in sizes]
        axis.loglog(sizes, straight, color="grey", linestyle=":", label="in proportion to size")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel(label, fontsize=9)
        axis.set_ylabel(quantity, fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save_figure(figure, out)


def main() -> None:
    """Run the measurements, print and plot them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder to write the plots to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # for NumPy in the baseline
    cv2.setNumThreads(1)
    logging.disable(logging.INFO)  # every cache hit would be logged
    for name in args.only:
        points, label, baseline = SUBJECTS[name]
        print(f"{name} over {label}")
        table = measure(points(), args.runs)
        sizes = table.pop("size")
        exponents = (growth(sizes, table[which]) for which in ("ours", "baseline"))
        print("  growth at the end: ours size^{:.2f}, baseline size^{:.2f}".format(*exponents))
        panels = [("processor seconds", {"ours": table["ours"], baseline: table["baseline"]})]
        if name == "knn":
            memory = knn_memory(sizes, args.threads)
            for which, values in memory.items():
                print(f"  extra MiB, {which}: {', '.join(f'{value:.0f}' for value in values)}")
            panels.append(
                ("extra memory (MiB)", {"ours": memory["ours"], baseline: memory["dense"]})
            )
        plot(panels, sizes, label, args.out / f"bench_{name}.png")


if __name__ == "__main__":
    main()
