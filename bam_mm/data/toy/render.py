"""Rendering of a scene to pixels, and to a map of the thing that each pixel shows."""

from __future__ import annotations

import numpy as np

from bam_mm.data.toy.scene import CLASSES, Background, Scene, Thing
from bam_mm.data.toy.shapes import SHAPES
from bam_mm.data.toy.textures import TEXTURES

SUPERSAMPLING = 2
"""Samples per pixel along each axis, for smooth edges and thin textures without flicker."""


def render(scene: Scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Render a scene.

    Args:
        scene: Scene to render.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        The (height, width, 3) uint8 RGB image, with equal channels, and the (height, width) uint8
        map of things: 0 for the background, or 1 + the index into ``scene.things`` of the foremost
        thing that covers most of the pixel.
    """
    canvas = _background(scene.background, height, width)
    ids = np.zeros((height, width), dtype=np.uint8)
    for number, thing in enumerate(scene.things, start=1):
        window = _window(thing, height, width)
        if window is None:
            continue
        (top, bottom), (left, right) = window
        inside, light = _sample(thing, window, height, width)
        colour = np.where(light, thing.light, thing.dark)
        cover = _pool(inside.astype(np.float64))
        paint = _pool(colour * inside)
        patch = canvas[top:bottom, left:right]
        patch *= 1.0 - cover
        patch += paint
        ids[top:bottom, left:right][cover > 0.5] = number
    grey = np.rint(canvas.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), ids


def label_map(scene: Scene, ids: np.ndarray) -> np.ndarray:
    """Return the class of each pixel.

    Args:
        scene: Scene that was rendered.
        ids: (H, W) map of its things, as returned by :func:`render`.

    Returns:
        (H, W) uint8 labels: 0 for the background, 1 + class index elsewhere.
    """
    table = np.array([0, *(thing.label + 1 for thing in scene.things)], dtype=np.uint8)
    return table[ids]


def _background(background: Background, height: int, width: int) -> np.ndarray:
    y = np.linspace(-1, 1, height)[:, None] * background.slope[0]
    x = np.linspace(-1, 1, width)[None, :] * background.slope[1]
    noise = np.random.default_rng(background.seed).standard_normal((height, width))
    return background.level + y + x + background.noise * noise


def _window(thing: Thing, height: int, width: int):
    """Return the rows and columns that the thing can touch, or None if it is not visible."""
    half = thing.size * min(height, width)
    # Outlines reach 1.07 half extents, and a rotated corner sqrt(2) times as far.
    reach = half * 1.52 * max(thing.aspect, 1.0)
    centre_y, centre_x = thing.y * height, thing.x * width
    top, bottom = max(0, int(centre_y - reach)), min(height, int(centre_y + reach) + 2)
    left, right = max(0, int(centre_x - reach)), min(width, int(centre_x + reach) + 2)
    return None if top >= bottom or left >= right else ((top, bottom), (left, right))


def _sample(thing: Thing, window, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline and the texture at every sample of the window, both boolean."""
    (top, bottom), (left, right) = window
    half = thing.size * min(height, width)
    step = 1.0 / SUPERSAMPLING
    rows = np.arange(top, bottom, step) + step / 2 - thing.y * height
    columns = np.arange(left, right, step) + step / 2 - thing.x * width
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    y = (cos * rows[:, None] - sin * columns[None, :]) / half
    x = (sin * rows[:, None] + cos * columns[None, :]) / (half * thing.aspect)
    shape, texture = CLASSES[thing.label]
    inside = SHAPES[shape](y, x) > 0
    # A concentric texture is centred on its thing; the others are shifted freely.
    shift = (0.0, 0.0) if texture == "rings" else thing.phase
    return inside, TEXTURES[texture](y + shift[0], x + shift[1], thing.frequency)


def _pool(values: np.ndarray) -> np.ndarray:
    """Average the samples of each pixel."""
    height, width = values.shape[0] // SUPERSAMPLING, values.shape[1] // SUPERSAMPLING
    blocks = values.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, *values.shape[2:])
    return blocks.mean(axis=(1, 3))
