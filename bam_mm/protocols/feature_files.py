"""Files of features, written and read piece by piece, so that no second table is in memory.

A file is a safetensors file of three tensors in this order: ``labels`` (N,) int64, ``features``
(N, C) float32 or float16, and ``digests`` (1 + pieces, 32) uint8, the SHA-256 of the labels and of
each piece of ``PIECE_BYTES`` of the features. A process that reads a part of the rows checks the
pieces that hold them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bam_mm.distributed import gather_rows, world_size
from bam_mm.models.feature_table import FeatureShard

PIECE_BYTES = 1 << 24
"""Number of bytes of the features that are written, read and digested at a time."""

DTYPES = {torch.float32: "F32", torch.float16: "F16"}
"""Names that safetensors files use for the types of features."""

LARGEST_HEADER = 1 << 20
"""Number of bytes above which a header belongs to no file of this module."""


class DamagedFile(Exception):
    """A file is not complete, was changed, or holds another table; the message is the reason."""


def rows_of_pieces(width: int, dtype: torch.dtype) -> int:
    """Return the number of rows in a piece of features of this width and type."""
    return max(1, PIECE_BYTES // (max(1, width) * dtype.itemsize))


def pieces_of(shard: FeatureShard, *, whole: bool) -> Iterator[Tensor]:
    """Yield all rows of a table in order, a piece at a time, on the CPU.

    Args:
        shard: Rows of this process.
        whole: Whether the shard holds all rows. Otherwise the processes exchange each piece, so
            every process must take all of them.

    Yields:
        Features of consecutive rows.
    """
    features, rows, labels = shard
    step = rows_of_pieces(features.shape[1], features.dtype)
    for first in range(0, len(labels), step):
        last = min(first + step, len(labels))
        if whole or world_size() == 1:
            yield features[first:last].cpu()
            continue
        low, high = torch.searchsorted(rows, rows.new_tensor([first, last])).tolist()
        piece = features.new_empty((last - first, features.shape[1]))
        piece[gather_rows(rows[low:high]) - first] = gather_rows(features[low:high])
        yield piece.cpu()


def write_table(
    path: Path, pieces: Iterable[Tensor], labels: Tensor, *, width: int, dtype: torch.dtype
) -> None:
    """Write a file.

    Args:
        path: File to write.
        pieces: Features of consecutive rows, from :func:`pieces_of`.
        labels: (N,) int64 labels.
        width: Width C of the features.
        dtype: Type of the features.

    Raises:
        OSError: If the file cannot be written.
    """
    rows = len(labels)
    digests = [_sha256(bytes_of(labels))]
    with path.open("wb") as file:
        file.write(_header(rows, width, dtype))
        file.write(bytes_of(labels))
        for piece in pieces:
            data = bytes_of(piece)
            digests.append(_sha256(data))
            file.write(data)
        file.write(b"".join(digests))


def read_table(
    path: Path, *, rows: int, dtype: torch.dtype, part: range, device: torch.device
) -> FeatureShard:
    """Read a part of the rows of a file.

    Args:
        path: File to read.
        rows: Number of rows N that the file must have.
        dtype: Type that the features must have.
        part: Consecutive rows to read.
        device: Device for the result. The memory on the CPU is that of a piece if it is another.

    Returns:
        The rows with the labels of all rows.

    Raises:
        DamagedFile: If the file does not hold such a table, or not the one that was written.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        width = _read_header(file, rows, dtype, path.stat().st_size)
        labels = torch.empty(rows, dtype=torch.int64)
        start = file.tell() + labels.nbytes
        step = rows_of_pieces(width, dtype)
        digests = _read_digests(file, start + rows * width * dtype.itemsize, -(-rows // step))
        file.seek(start - labels.nbytes)
        _read_checked(file, labels, digests[0])
        features = torch.empty((len(part), width), dtype=dtype, device=device)
        buffer = torch.empty((min(step, rows), width), dtype=dtype)
        for number in range(part.start // step, -(-part.stop // step) if part else 0):
            first = number * step
            piece = buffer[: min(step, rows - first)]
            file.seek(start + first * width * dtype.itemsize)
            _read_checked(file, piece, digests[1 + number])
            low, high = max(first, part.start), min(first + len(piece), part.stop)
            features[low - part.start : high - part.start] = piece[low - first : high - first]
    held = torch.arange(part.start, part.stop, device=device)
    return FeatureShard(features, held, labels.to(device))


def _header(rows: int, width: int, dtype: torch.dtype) -> bytes:
    step, size = rows_of_pieces(width, dtype), rows * width * dtype.itemsize
    tensors = {
        "labels": ("I64", [rows], 8 * rows),
        "features": (DTYPES[dtype], [rows, width], size),
        "digests": ("U8", [1 + -(-rows // step), 32], 32 * (1 + -(-rows // step))),
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (kind, shape, length) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + length]}
        start += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read_header(file: BufferedReader, rows: int, dtype: torch.dtype, size: int) -> int:
    """Read the header up to the first tensor and return the width of the features."""
    length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise DamagedFile("its header is not that of a cache file")
    text = file.read(length)
    try:
        found = json.loads(text)
        count, width = found["features"]["shape"]
        end = found["digests"]["data_offsets"][1]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedFile("its header cannot be read") from error
    if count != rows:
        raise DamagedFile(f"{count} rows for {rows} images")
    if not isinstance(width, int) or text != _header(rows, width, dtype)[8:]:
        raise DamagedFile("its header is not that of a cache file")
    if 8 + length + end != size:
        raise DamagedFile(f"{size} bytes instead of {8 + length + end}")
    return width


def _read_digests(file: BufferedReader, start: int, pieces: int) -> list[bytes]:
    file.seek(start)
    data = file.read()
    return [data[32 * number : 32 * (number + 1)] for number in range(1 + pieces)]


def _read_checked(file: BufferedReader, tensor: Tensor, digest: bytes) -> None:
    """Read the bytes of a tensor in place."""
    data = bytes_of(tensor)
    if file.readinto(data) != len(data) or _sha256(data) != digest:
        raise DamagedFile("its contents do not match its checksum")


def _sha256(data: memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, without a copy if it is contiguous and on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
