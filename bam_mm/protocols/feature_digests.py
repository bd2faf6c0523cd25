"""Digests of what features depend on: the weights of a backbone and the images of a data set.

Images are not read, and most of their files are not even looked at, as a large data set has
millions of them. Of the images, the digest covers:

- the list: the path and the label of each image in their order, and the names of the classes;
- the modification time of each folder that directly contains an image;
- size and modification time of at most ``CHECKED_FILES`` files, at even intervals in the list;
- every pixel of images that are in memory.

Images that are added, removed, renamed, moved or relabelled are therefore always noticed. So is a
file that is replaced by a new one under the same name, as most programs save files (the time of its
folder changes), and any other change to a file of a data set of at most ``CHECKED_FILES`` images.
In a larger data set, a file that is rewritten in place (opened and overwritten, or behind a link
into another folder) is noticed only if it is one of the checked files: re-encoding all images is,
changing a few of them may not be. A file whose size and time are restored is never noticed. On the
other hand, any other file that appears in a folder of images, or is deleted there, leads to another
digest, and the features are extracted again.

The first process computes the digest of the images and shares it. On several machines, it looks
only at the files of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from torch import nn

from bam_mm.protocols.feature_files import bytes_of

CHECKED_FILES = 1000
"""Largest number of image files whose size and modification time are looked at."""


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's tensors: names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def images_digest(dataset: BaseDataset) -> str:
    """Return the SHA-256 of a data set's images, without reading their files.

    The module's docstring lists what the digest covers.

    Args:
        dataset: Data set that the features are extracted from.
    """
    digest = hashlib.sha256(str(dataset.metainfo.get("classes")).encode())
    count = len(dataset)
    checked = min(count, CHECKED_FILES)
    files = {number * count // checked for number in range(checked)}
    folders = set()
    for index in range(count):
        info = dataset.get_data_info(index)
        path = info.get("img_path")
        digest.update(_bytes(f"{info.get('gt_label')} {path} "))
        if isinstance(info.get("img"), np.ndarray):
            digest.update(np.ascontiguousarray(info["img"]).data)
        elif path:
            folders.add(os.path.dirname(path))
            if index in files:
                digest.update(_size_and_time(path))
    for folder in sorted(folders):
        digest.update(_time(folder or os.curdir))
    return digest.hexdigest()


def _size_and_time(path: str) -> bytes:
    # If the file is missing, loading the image reports it, with the remedy.
    with suppress(OSError):
        facts = os.stat(path)
        return f"{facts.st_size} {facts.st_mtime_ns};".encode()
    return b""


def _time(folder: str) -> bytes:
    with suppress(OSError):
        return _bytes(f"{folder} {os.stat(folder).st_mtime_ns};")
    return b""


def _bytes(text: str) -> bytes:
    # Names that are not UTF-8 contain surrogates.
    return text.encode(errors="surrogatepass")


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a digest of plain values that ignores the order of a mapping's keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]
