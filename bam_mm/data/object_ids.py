"""Object ids in the annotations of a video, in whichever way a tool has stored them as pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from bam_mm.data.indexed_png import voc_palette
from bam_mm.data.opening import hides_bits, open_image
from bam_mm.errors import listing

VOID = 255
"""Value of pixels that belong to no object, in annotations that number their objects."""

MOST_OBJECTS = 32
"""Largest number of grey levels that are taken for ids; more are those of a picture."""

HIGHEST_BESIDE_VOID = 100
"""Largest grey level that is taken for an id where 255 is used too: others are blurred edges."""

DAVIS_COLOURS = 22
"""Number of colours at the start of DAVIS's palette that follow PASCAL VOC's."""

SMALLEST_SHARE = 0.02
"""Smallest area of all objects as a fraction of the void's area."""

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
_REMEDY = "save it as an indexed PNG with one id per pixel and 0 for the background"


@dataclass(frozen=True)
class IdRule:
    """How the pixels of a video's annotations become ids, which its first annotation decides.

    Attributes:
        single: Whether 255 is the only object, as in DAVIS-2016, which then has the id 1.
        colours: Ids of the colours of the first annotation's palette, with which the frames of a
            file whose palette was sorted anew are read; empty if there is no palette.
        palette: Colours of the ids, a flat list of red, green and blue.
        note: What differs from DAVIS-2017, for the log; empty if nothing does.
    """

    single: bool = False
    colours: Mapping[Colour, int] = field(default_factory=dict)
    palette: tuple[int, ...] = ()
    note: str = ""


def first_ids(path: str | Path) -> tuple[np.ndarray, IdRule]:
    """Read the first annotation of a video.

    DAVIS-2017 stores ids as the indices of a palette, with 255 for void. Also read are grey levels
    (8 and 16 bits, one bit), grey levels written as RGB, the colours of DAVIS's palette written as
    RGB, a single object of 255 (DAVIS-2016), and palettes that an optimiser of PNG files has sorted
    anew, of which the colours are right and the indices are not.

    Args:
        path: Path of the image.

    Returns:
        (H, W) uint8 ids, in which 255 is void, and the rule for the other annotations.

    Raises:
        ValueError: If the pixels are not ids in any of these ways.
        OSError: If the file is missing, damaged or not an image.
    """
    values, palette, note = _read(path)
    if palette is None:
        _check_grey(values, path)
        colours: dict[Colour, int] = {}
    else:
        used = _used_colours(values, palette)
        if _misplaced(used, {BLACK: 0}):
            values = _recolour(values, palette, _voc_ids(), path)
            palette, note = _voc_colours(), "palettes in another order, read by colour"
            used = _used_colours(values, palette)
        colours = _lookup(used, palette)
    present = set(_present(values)) - {0}
    single = present == {VOID}
    if single:
        note = "a single object of value 255, which becomes id 1"
    elif VOID in present:
        _check_void(values, path)
    shown = tuple(voc_palette() if single or palette is None else palette.ravel().tolist())
    return _apply_single(values, path) if single else values, IdRule(single, colours, shown, note)


def next_ids(path: str | Path, rule: IdRule) -> np.ndarray:
    """Read another annotation of a video, by the rule of the first one.

    Args:
        path: Path of the image.
        rule: Rule from :func:`first_ids`.

    Returns:
        (H, W) uint8 ids, in which 255 is void.

    Raises:
        ValueError: If the pixels are not ids.
        OSError: If the file is missing, damaged or not an image.
    """
    values, palette, _ = _read(path)
    if rule.single:
        return _apply_single(values, path)
    if palette is None:
        _check_grey(values, path)
    elif palette.ravel().tolist() == list(rule.palette):  # The same indices mean the same ids.
        return values
    elif rule.colours and _misplaced(_used_colours(values, palette), rule.colours):
        return _recolour(values, palette, rule.colours, path)
    return values


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return (H, W) uint8 values, the palette (n, 3) or None, and what differs from DAVIS."""
    data = Path(path).read_bytes()
    with open_image(BytesIO(data)) as image:
        if hides_bits(image, data):
            raise ValueError(
                f"{path} is a bitmap with a palette of black and white, of which only one bit "
                f"would be read: {_REMEDY}"
            )
        if image.format == "JPEG":
            raise ValueError(f"{path} is a JPEG, which blurs the edges between ids: {_REMEDY}")
        mode, pixels = image.mode, np.asarray(image)
        if mode == "P":
            palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
            return pixels.astype(np.uint8), palette, ""
    if mode in ("1", "L"):
        return pixels.astype(np.uint8), None, "grey levels read as ids"
    if mode in ("LA", "RGBA"):
        if (pixels[..., -1] != 255).any():
            raise ValueError(f"{path} has transparent pixels, which are not ids: {_REMEDY}")
        pixels = pixels[..., 0] if mode == "LA" else pixels[..., :3]
    elif mode.startswith("I") or mode == "F":
        return _bytes_of(pixels, path), None, "grey levels of 16 bits read as ids"
    elif mode != "RGB":
        raise ValueError(f"{path} has the mode {mode}, whose pixels are not ids: {_REMEDY}")
    if pixels.ndim == 2 or (pixels == pixels[..., :1]).all():
        return pixels.reshape(*pixels.shape[:2], -1)[..., 0], None, "grey levels read as ids"
    return _ids_of_rgb(pixels, path), _voc_colours(), "colours of DAVIS's palette read as ids"


def _bytes_of(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    if set(np.unique(pixels)) == {0, 65535}:  # a single object in white
        return (pixels > 0).astype(np.uint8) * VOID
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 255 and (pixels == pixels.astype(np.uint8)).all()):
        raise ValueError(f"{path} has values from {low} to {high}, but ids are 0 to 255: {_REMEDY}")
    return pixels.astype(np.uint8)


def _ids_of_rgb(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    codes = pixels.astype(np.int64) @ (65536, 256, 1)
    known = {r * 65536 + g * 256 + b: i for (r, g, b), i in _voc_ids().items()}
    colours, places = np.unique(codes, return_inverse=True)
    strange = [f"#{code:06x}" for code in colours.tolist() if code not in known]
    if strange:
        raise ValueError(
            f"{path} shows colours, not ids, and {len(strange)} of its {len(colours)} colours are "
            f"not of the palette of DAVIS or PASCAL VOC ({listing(strange, 3)}): {_REMEDY}"
        )
    ids = np.array([known[code] for code in colours.tolist()], np.uint8)
    return ids[places.reshape(codes.shape)]


def _check_grey(values: np.ndarray, path: str | Path) -> None:
    levels = _present(values)
    blurred = VOID in levels and any(HIGHEST_BESIDE_VOID < level < VOID for level in levels)
    if len(levels) > MOST_OBJECTS or blurred:
        raise ValueError(
            f"{path} has {len(levels)} grey levels ({listing(levels, 8)}), which are not ids but "
            f"the shades of a resized or blurred mask: {_REMEDY}, resized with nearest-neighbour "
            "interpolation"
        )


def _check_void(values: np.ndarray, path: str | Path) -> None:
    void = np.count_nonzero(values == VOID)
    objects = np.count_nonzero(values) - void
    if objects < SMALLEST_SHARE * void:
        raise ValueError(
            f"{path} has 255 (void) in {void} pixels and other ids in only {objects}: number every "
            "object from 1, or clear the stray pixels of a mask of 0 and 255"
        )


def _apply_single(values: np.ndarray, path: str | Path) -> np.ndarray:
    others = [value for value in _present(values) if value not in (0, VOID)]
    if others:
        raise ValueError(
            f"{path} has the values {listing(others)}, but the first annotation only 0 and 255: "
            "save every annotation of the video in the same way"
        )
    return (values == VOID).astype(np.uint8)


def _used_colours(values: np.ndarray, palette: np.ndarray) -> dict[int, Colour]:
    # An index beyond the palette has no colour, and is an id like any other.
    return {i: _colour(palette[i]) for i in _present(values) if i < len(palette)}


def _misplaced(used: Mapping[int, Colour], known: Mapping[Colour, int]) -> bool:
    """Return whether a known colour has another index, so that indices are not ids."""
    if len(set(used.values())) < len(used):  # Equal colours say nothing about their indices.
        return False
    return any(known.get(colour, index) != index for index, colour in used.items())


def _lookup(used: Mapping[int, Colour], palette: np.ndarray) -> dict[Colour, int]:
    if len(set(used.values())) < len(used):
        return {}
    colours = [_colour(row) for row in palette]
    # A palette is often filled up with one colour, which then says nothing about its indices.
    numbers = Counter(colours)
    once = {colour: index for index, colour in enumerate(colours) if numbers[colour] == 1}
    return {**once, **_inverse(used)}


def _recolour(
    values: np.ndarray, palette: np.ndarray, known: Mapping[Colour, int], path: str | Path
) -> np.ndarray:
    used = _used_colours(values, palette)
    strange = [index for index in _present(values) if used.get(index) not in known]
    if strange:
        raise ValueError(
            f"{path} has a palette in another order than the video's first annotation or that "
            f"of DAVIS and PASCAL VOC, and the colours of its indices {listing(strange)} are "
            f"unknown: {_REMEDY}, and the same palette in every frame"
        )
    table = np.zeros(256, np.uint8)
    for index, colour in used.items():
        table[index] = known[colour]
    return table[values]


def _present(values: np.ndarray) -> list[int]:
    return np.flatnonzero(np.bincount(values.ravel(), minlength=1)).tolist()


def _colour(row: np.ndarray) -> Colour:
    red, green, blue = row.tolist()
    return red, green, blue


def _inverse(used: Mapping[int, Colour]) -> dict[Colour, int]:
    return {colour: index for index, colour in used.items()}


@cache
def _voc_colours() -> np.ndarray:
    return np.array(voc_palette(), np.uint8).reshape(-1, 3)


@cache
def _voc_ids() -> dict[Colour, int]:
    ids = {_colour(colour): index for index, colour in enumerate(_voc_colours())}
    # DAVIS's own annotations have 191 instead of VOC's 192, and grey from id 22 on.
    davis = np.where(_voc_colours() == 192, 191, _voc_colours())[:DAVIS_COLOURS]
    return {**ids, **{_colour(colour): index for index, colour in enumerate(davis)}}
