"""Outlines of the toy world's things, as functions of coordinates in the thing's own frame.

Each function takes arrays ``y`` and ``x``, in which the thing spans about [-1, 1], and returns an
array that is positive inside the outline and negative outside.
"""

from __future__ import annotations

import numpy as np


def disk(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A disk of radius 1."""
    return 1.0 - np.hypot(y, x)


def square(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A square of half side 0.85."""
    return 0.85 - np.maximum(np.abs(y), np.abs(x))


def triangle(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """An upright triangle."""
    return np.minimum(0.7 - y, (y + 1.0) * 0.5 + 0.06 - np.abs(x) * 0.9)


def diamond(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A square on its corner, narrower than high."""
    return 1.0 - np.abs(y) - np.abs(x) * 1.25


def star(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A five-pointed star with soft notches."""
    angle = np.arctan2(x, -y)
    return 0.78 + 0.26 * np.cos(5.0 * angle) - np.hypot(y, x)


def cross(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A cross with arms 0.8 wide."""
    across = np.minimum(0.4 - np.abs(y), 0.95 - np.abs(x))
    upright = np.minimum(0.4 - np.abs(x), 0.95 - np.abs(y))
    return np.maximum(across, upright)


def ring(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A ring between the radii 0.42 and 1."""
    radius = np.hypot(y, x)
    return np.minimum(1.0 - radius, radius - 0.42)


def hexagon(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A hexagon of inner radius 0.88."""
    y, x = np.abs(y), np.abs(x)
    return 0.88 - np.maximum(x * 0.8660254 + y * 0.5, y)


SHAPES = {
    "disk": disk,
    "square": square,
    "triangle": triangle,
    "diamond": diamond,
    "star": star,
    "cross": cross,
    "ring": ring,
    "hexagon": hexagon,
}
