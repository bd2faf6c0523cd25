"""Checks that a checkpoint and the data have the same classes, where they are not matched."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from bam_mm.data.class_names import FOLDERS, classes_of, folders_of, names_of_list, recorded_classes
from bam_mm.errors import InputError, listing


def check_dense_classes(meta: Mapping[str, Any], path: str, dataset: Any) -> None:
    """Check that a checkpoint of mmdet or mmseg was trained with the classes of the data.

    Args:
        meta: ``meta`` of the checkpoint. Without class names, a warning is logged.
        path: Path of the checkpoint, for the message.
        dataset: Data set to evaluate, possibly in a wrapper.

    Raises:
        InputError: If the classes or their order differ, so that labels have different meanings.
    """
    trained, tested = recorded_classes(meta), classes_of(dataset)
    if tested is None or trained == tested:
        return
    if trained is None:
        note = f"checkpoint {path} records no class names: that its classes are those of the test "
        print_log(f"{note}data is not checked", logger="current", level=logging.WARNING)
        return
    pairs = list(zip(trained, tested, strict=False))
    first = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    ends = [names[first] if first < len(names) else "nothing" for names in (trained, tested)]
    raise InputError(
        f"checkpoint {path} was trained with {len(trained)} classes, and the test data has "
        f"{len(tested)} in {'another order' if set(trained) == set(tested) else 'other words'}: "
        f"class {first} is {ends[0]!r} in the checkpoint and {ends[1]!r} in the data; set "
        "test_dataloader.dataset.metainfo.classes to the names of the training, in their order"
    )


def check_resumed_classes(meta: Mapping[str, Any] | None, dataset: Any) -> None:
    """Check that a resumed training has the classes with which it was started.

    Args:
        meta: ``meta`` of the checkpoint. Without class names, nothing is checked.
        dataset: Training data, possibly in a wrapper.

    Raises:
        InputError: If the classes, or the folders of the same words, differ.
    """
    stored = meta.get(FOLDERS) if isinstance(meta, Mapping) else None
    pairs = [
        (recorded_classes(meta), classes_of(dataset)),
        (names_of_list(stored), folders_of(dataset)),
    ]
    for before, now in pairs:
        if before is None or now is None or before == now:
            continue
        changed = [name for name in (*before, *now) if name not in before or name not in now]
        raise InputError(
            f"resume: the run was started with {len(before)} classes, and the training data now "
            f"has {len(now)}; not in both: {listing(changed) or 'none, but their order differs'}. "
            "Restore the class folders, or start a new run in another work folder"
        )
