"""Nearest patches of a frame in other frames, by cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bam_mm.evaluation.patch_window import WindowBand, banded_products, window_bands
from bam_mm.precision import exact_products

SMALLEST_NORM = 1e-12
"""Lower bound of the norm by which a feature is divided, as in ``F.normalize``."""


@dataclass(frozen=True)
class PatchMatches:
    """The nearest patches of every patch of a frame, nearest first.

    Attributes:
        cosine: (h*w, K) cosine similarities in descending order; -inf where a window has fewer
            patches.
        index: (h*w, K) int64 indices into the n*h*w patches of the context frames, frame by frame.
        topk: Number of nearest patches that were asked for, at most n*h*w. K exceeds it if patches
            tie for the last place, because all of them are kept.
        patches: Number n*h*w of patches that were matched against.
    """

    cosine: Tensor
    index: Tensor
    topk: int
    patches: int


@torch.no_grad()
def match_patches(
    target: Tensor,
    context: Tensor,
    *,
    grid: tuple[int, int],
    topk: int = 5,
    radius: int = 12,
    chunk: tuple[int, int] | None = None,
) -> PatchMatches:
    """Find the nearest patches of every patch of the target frame in all context frames together.

    Only a few rows of the target and a few context frames are processed at once, to bound the
    memory of the similarities and of the copies of features.

    Args:
        target: (h*w, D) features, in row-major order of the patches; normalised here.
        context: (n, h*w, D) features; normalised here. Features in half precision are computed in
            float32.
        grid: (h, w), the size of a frame in patches.
        topk: Number of nearest patches over all context frames.
        radius: Radius of the square window around the position of the patch, in patches; 0 sets no
            limit.
        chunk: Maximum number of rows of the target and of context frames that are processed at
            once. It affects memory and time, but not the result. None chooses both by the available
            memory.

    Returns:
        The matches, with similarities in the dtype of the features, at least float32.

    Raises:
        ValueError: If the shapes do not agree, topk, radius or chunk is out of range, or a feature
            is not finite.
    """
    _check_features(target, context, grid)
    _check_settings(topk, radius, chunk)
    height, width = grid
    grid, n = (height, width), len(context)
    # A window that reaches across the whole frame sets no limit either.
    radius = 0 if 0 < max(grid) - 1 <= radius else radius
    rows, frames = chunk or _chunk_for_memory(target, n, grid, radius)
    bands = window_bands(grid, radius, rows)
    scale = _inverse_norm(context, "context")
    query = _by_column(target[None], _inverse_norm(target[None], "target"), grid, pad=radius)
    best: list[list[tuple[Tensor, Tensor]]] = [[] for _ in bands]
    for start in range(0, n, frames):
        group = slice(start, start + frames)
        matches = _match_group(query[:, :, 0], context[group], scale[group], bands, radius, topk)
        for parts, (cosine, index) in zip(best, matches, strict=True):
            parts.append((cosine, index + start * len(target)))
    return _assemble(best, min(topk, n * len(target)), n * len(target))


def _check_features(target: Tensor, context: Tensor, grid: tuple[int, int]) -> None:
    h, w = grid
    if target.ndim != 2 or context.ndim != 3 or context.shape[1:] != target.shape:
        raise ValueError(
            f"target {tuple(target.shape)} and context {tuple(context.shape)} must be (h*w, D) and "
            "(n, h*w, D): pass the same backbone's features of frames of the same size"
        )
    if target.shape[0] != h * w:
        raise ValueError(
            f"target has {target.shape[0]} patches, but grid={tuple(grid)} has {h} x {w} = "
            f"{h * w}; drop the class token, and pass grid as (rows, columns)"
        )
    if len(context) == 0:
        raise ValueError("context holds 0 frames; pass at least the annotated first frame")
    if target.dtype != context.dtype or not target.is_floating_point():
        raise ValueError(
            f"target is {target.dtype} and context {context.dtype}: both must have the same "
            "floating-point dtype; convert them with .float()"
        )


def _check_settings(topk: int, radius: int, chunk: tuple[int, int] | None) -> None:
    if topk < 1:
        raise ValueError(f"topk={topk}: choose at least 1 nearest patch; DINO uses 5")
    if radius < 0:
        raise ValueError(f"radius={radius} patches: choose 12 as in DINO, or 0 for no limit")
    if chunk is not None and min(chunk) < 1:
        raise ValueError(
            f"chunk={tuple(chunk)} must be at least (1 row, 1 frame), or None to choose by memory"
        )


def _chunk_for_memory(
    target: Tensor, n: int, grid: tuple[int, int], radius: int
) -> tuple[int, int]:
    # Low bands compute fewer products outside the windows. High bands and several frames make the
    # large matrix products that a GPU needs. The budget counts values: 2**22 of them take 16 MiB in
    # float32.
    rows, most = (10, 2**23) if target.device.type == "cpu" else (32, 2**27)
    (h, w), rows = grid, min(rows, grid[0])
    key_rows, slots = (min(rows + 2 * radius, h), 2 * radius + 1) if radius else (h, w)
    one_frame = target.numel() + 2 * w * rows * slots * key_rows
    groups = -(-n // max(most // one_frame, 1))
    return rows, -(-n // groups)


def _inverse_norm(frames: Tensor, name: str) -> Tensor:
    # (n, h*w, D) -> (n, h*w), at least float32
    dtype = torch.promote_types(frames.dtype, torch.float32)
    norm = torch.linalg.vector_norm(frames, dim=-1, dtype=dtype)
    if not norm.isfinite().all():
        frame, patch = (~norm.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the {name}'s feature of patch {patch} (frame {frame}) is not finite (norm "
            f"{norm[frame, patch].item()}); check the checkpoint, or extract features in float32 "
            "instead of half precision"
        )
    return norm.clamp_min_(SMALLEST_NORM).reciprocal_()


def _by_column(frames: Tensor, scale: Tensor, grid: tuple[int, int], pad: int = 0) -> Tensor:
    # (n, h*w, D) -> normalised (pad + w + pad, h, n, D). In this layout, the patches of several
    # adjacent rows in one column are a matrix, without a further copy.
    n, (h, w), d = len(frames), grid, frames.shape[-1]
    out = torch.zeros((w + 2 * pad, h, n, d), dtype=scale.dtype, device=frames.device)
    frames, scale = (x.view(n, h, w, -1).permute(2, 1, 0, 3) for x in (frames, scale))
    torch.mul(frames, scale, out=out[pad : pad + w])
    return out


def _match_group(
    query: Tensor,
    context: Tensor,
    scale: Tensor,
    bands: tuple[WindowBand, ...],
    radius: int,
    topk: int,
) -> list[tuple[Tensor, Tensor]]:
    # -> cosine and index, (w, rows, K), for each band. This is a separate function so that its
    # tensors are released before the features of the next group are copied.
    h = query.shape[1]
    keys = _by_column(context, scale, (h, context.shape[1] // h))
    matches = []
    for band in bands:
        cosine, place = _largest(_products(query, keys, band, radius).flatten(2), topk)
        matches.append((cosine, _frame_index(place, band, keys.shape, radius)))
    return matches


def _products(query: Tensor, keys: Tensor, band: WindowBand, radius: int) -> Tensor:
    # -> (w, rows, slots, key rows, n)
    # Under the caller's autocast and TF32, the products would be rounded.
    with exact_products(query.device):
        if radius:
            return banded_products(query, keys, band, radius)
        query = query[:, slice(*band.rows)]
        products = query.flatten(0, 1) @ keys.flatten(0, 2).T
        return products.view(*query.shape[:2], *keys.shape[:3])


def _largest(cosine: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # Along the last axis. The value after the k-th shows whether the last place is shared. If so,
    # widen the search until all values that share it are found, because otherwise the result would
    # depend on the order of the frames.
    total = cosine.shape[-1]
    k, kept = min(k, total), min(k + 1, total)
    while True:
        values, place = cosine.topk(kept, dim=-1)
        last = values[..., k - 1 : k]
        tied = (values[..., -1:] == last) & (last > -torch.inf)
        if kept == total or not tied.any():
            break
        kept = min(2 * kept, total)
    width = int(((values >= last) & (values > -torch.inf)).sum(-1).max())
    return values[..., : max(width, k)], place[..., : max(width, k)]


def _frame_index(place: Tensor, band: WindowBand, keys: torch.Size, radius: int) -> Tensor:
    # Converts an index into (slots, key rows, n) to an index into (n, h, w).
    (w, h, n, _), (top, bottom) = keys, band.key_rows
    frame, cell = place % n, place // n
    row, column = top + cell % (bottom - top), cell // (bottom - top)
    if radius:
        column += torch.arange(w, device=place.device)[:, None, None] - radius
    return (frame * h + row) * w + column


def _assemble(best: list[list], topk: int, patches: int) -> PatchMatches:
    # best has one list per band, which holds the (w, rows, K) values and indices of each group of
    # frames.
    bands = []
    for parts in best:
        cosine, index = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
        if len(parts) > 1:
            cosine, place = _largest(cosine, topk)
            index = index.gather(-1, place)
        # Entries of -inf may point outside the frame. Their weight will be 0, so any index will do.
        index = index.masked_fill(cosine == -torch.inf, 0)
        bands.append((cosine.transpose(0, 1), index.transpose(0, 1)))
    width = max(topk, *(cosine.shape[-1] for cosine, _ in bands))
    cosine = torch.cat([_widen(c, width, -torch.inf) for c, _ in bands])
    index = torch.cat([_widen(i, width, 0) for _, i in bands])
    return PatchMatches(cosine.flatten(0, 1), index.flatten(0, 1), topk=topk, patches=patches)


def _widen(values: Tensor, width: int, fill: float) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)
