"""Size of the frames of a video as a backbone's input."""

from __future__ import annotations

from bam_mm.errors import InputError


def input_size(size: tuple[int, int], short_side: int, divisor: int) -> tuple[int, int]:
    """Return the size of the backbone's input for a frame, as in DINO's script.

    The long side keeps the aspect ratio, rounded down to a multiple of ``divisor``.

    Args:
        size: Size (H, W) of the frame.
        short_side: Short side of the input in pixels.
        divisor: Number of which the long side is a multiple.

    Returns:
        Size (H, W) of the input.

    Raises:
        InputError: If the long side is rounded down to 0.
    """
    height, width = size
    long = int(short_side * max(size) / min(size)) // divisor * divisor
    if not long:
        raise InputError(
            f"model.short_side={short_side} with model.divisor={divisor} leaves no pixels of a "
            f"{width}x{height} frame: lower the divisor to the backbone's patch size"
        )
    return (long, short_side) if height > width else (short_side, long)
