"""A grid of training images and their views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from bam_mm.benchmark.figures import save_figure
from bam_mm.benchmark.training_views import ViewedImage
from bam_mm.views import ViewLayout

COLOURS = tuple(plt.get_cmap("tab10").colors)


def plot_views(images: Sequence[ViewedImage], layout: ViewLayout, out: str | Path) -> Path:
    """Draw one row an image: the original with all crops on it, then every view.

    A crop and its view have a frame of the same colour; ContrastiveCrop's box is dashed.

    Args:
        images: What to draw.
        layout: Of the views.
        out: File to write.

    Returns:
        ``out``.
    """
    columns = 1 + layout.num_views
    figure, axes = plt.subplots(
        len(images),
        columns,
        figsize=(1.55 * columns, 1.62 * len(images) + 0.3),
        width_ratios=(1.3, *[1] * layout.num_views),
        constrained_layout=True,
        squeeze=False,
    )
    names = [f"global {i + 1}" for i in range(layout.num_global)]
    names += [f"local {i + 1}" for i in range(layout.num_local)]
    for row, image in zip(axes, images, strict=True):
        _show(row[0], image.original)
        for number, crop in enumerate(image.crops):
            _frame(row[0], crop, COLOURS[number % len(COLOURS)], "-")
        if image.box is not None:
            _frame(row[0], image.box, "white", "--")
        for number, (axis, view) in enumerate(zip(row[1:], image.views, strict=True)):
            _show(axis, view)
            for spine in axis.spines.values():
                spine.set(visible=True, color=COLOURS[number % len(COLOURS)], linewidth=2.5)
            if image.flips[number]:
                axis.set_xlabel("flipped", fontsize=7, labelpad=2)
    dashed = any(image.box is not None for image in images)
    axes[0, 0].set_title("original, crops" + (", box - -" if dashed else ""), fontsize=8)
    for axis, name, size in zip(axes[0, 1:], names, layout.sizes, strict=True):
        axis.set_title(f"{name}, {size} px", fontsize=8)
    return save_figure(figure, out)


def _show(axis, image) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _frame(axis, box, colour, style) -> None:
    top, left, bottom, right = box
    # Pixel centres lie on whole numbers: a crop's edge is half a pixel before its first one.
    place = dict(xy=(left - 0.5, top - 0.5), width=right - left, height=bottom - top, fill=False)
    # A dark line below keeps the frame visible on any image.
    for edge, width in (("black", 2.6), (colour, 1.5)):
        axis.add_patch(Rectangle(**place, edgecolor=edge, linewidth=width, linestyle=style))
