"""Textures of the toy world's things: true for the light tone, false for the dark tone.

Each function takes coordinates in the thing's own frame (about [-1, 1]) and the frequency in
periods per unit, and returns a boolean array.
"""

from __future__ import annotations

import numpy as np


def plain(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """The light tone everywhere."""
    return np.ones(np.broadcast(y, x).shape, dtype=bool)


def stripes(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Horizontal stripes."""
    return _saw(y * frequency) < 0.5


def checker(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """A chessboard."""
    return (_saw(y * frequency) < 0.5) ^ (_saw(x * frequency) < 0.5)


def dots(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Light dots on a dark background, in a square grid."""
    return np.hypot(_saw(y * frequency) - 0.5, _saw(x * frequency) - 0.5) < 0.33


def grid(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Light lines in both directions."""
    return (_saw(y * frequency) < 0.28) | (_saw(x * frequency) < 0.28)


def diagonal(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Stripes at 45 degrees."""
    return _saw((y + x) * frequency * 0.7071068) < 0.5


def zigzag(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Horizontal zigzag stripes."""
    wave = np.abs(_saw(x * frequency * 0.75) - 0.5) * 1.6 / frequency
    return _saw((y + wave) * frequency) < 0.5


def rings(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Concentric rings."""
    return _saw(np.hypot(y, x) * frequency) < 0.5


def bricks(y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Light bricks with dark joints, every other row shifted by half a brick."""
    row = y * frequency * 1.2
    shift = 0.5 * (np.floor(row) % 2)
    return (_saw(row) > 0.25) & (_saw(x * frequency * 0.7 + shift) > 0.18)


def _saw(value: np.ndarray) -> np.ndarray:
    return value - np.floor(value)


TEXTURES = {
    "plain": plain,
    "stripes": stripes,
    "checker": checker,
    "dots": dots,
    "grid": grid,
    "diagonal": diagonal,
    "zigzag": zigzag,
    "rings": rings,
    "bricks": bricks,
}
