"""Draw a suite's pretraining methods: kNN over epochs and time, NMI and ARI over classes.

    bam-mm benchmark run methods-short --seeds 1 2 3 --work-dir work_dirs/methods
    python benchmarks/methods_figure.py work_dirs/methods methods.png

The figure has the curves of the report's page: means over the seeds, and for NMI and ARI (Fig. 7 of
the paper) a band from the lowest to the highest seed.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from bam_mm.protocols.plots import plt, save_figure
from bam_mm.report.methods import method_charts
from bam_mm.suite.records import DONE, read_records

CLUSTERING = ("BAM", "SimCLR", "SwAV")
"""The methods of the paper's Fig. 7."""


def clustering_curves(records):
    """Return (class numbers, NMI and ARI of each seed) by model: x and (seeds, 2, points)."""
    found = {}
    for record in records:
        if record["task"] == "cluster" and record["status"] == DONE:
            [curve] = record["curves"]
            found.setdefault(record["model"]["name"], []).append(curve)
    return {
        name: (curves[0]["x"], np.array([curve["y"] for curve in curves]))
        for name, curves in found.items()
    }


def draw(charts, clustering, out):
    """Draw the four panels.

    Args:
        charts: What :func:`~bam_mm.report.methods.method_charts` returns.
        clustering: What :func:`clustering_curves` returns.
        out: File to write.
    """
    figure, axes = plt.subplots(1, 4, figsize=(15, 4.2), constrained_layout=True)
    # The legend has the order in which the lines end.
    ends = {name: points[-1][1] for name, points in charts["charts"][0]["series"].items()}
    names = sorted(ends, key=ends.__getitem__, reverse=True)
    colours = {name: plt.cm.tab10(index % 10) for index, name in enumerate(names)}
    for axis, chart in zip(axes, charts["charts"], strict=False):
        for name in names:
            points = zip(*chart["series"][name], strict=True)
            axis.plot(*points, color=colours[name], marker=".", label=name)
        axis.set(title="online kNN top-1 (%)", xlabel=chart["x_label"])
    axes[0].legend(fontsize=7, ncols=2)
    for axis, index, title in ((axes[2], 0, "NMI (%)"), (axes[3], 1, "ARI (%)")):
        for name in (name for name in CLUSTERING if name in clustering and name in colours):
            x, seeds = clustering[name]
            rows = seeds[:, index]
            axis.plot(x, rows.mean(0), color=colours[name], marker=".", label=name)
            axis.fill_between(x, rows.min(0), rows.max(0), color=colours[name], alpha=0.2, lw=0)
        axis.set(title=title, xlabel="number of classes")
        axis.legend(fontsize=7)
    for axis in axes:
        axis.grid(alpha=0.3)
    print(save_figure(figure, out))


def main():
    """Read the records of a work folder and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    records = read_records(args.work_dir)
    charts, clustering = method_charts(records), clustering_curves(records)
    if charts is None or not clustering:
        parser.error(f"{args.work_dir} has no pretraining that is scored and clustered yet")
    draw(charts, clustering, args.out)


if __name__ == "__main__":
    main()
