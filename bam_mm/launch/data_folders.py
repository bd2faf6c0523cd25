"""Checks that the data of a detection or segmentation config exist.

mmdet and mmseg do not check this, and end with a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bam_mm.data.checks.dense_labels import check_is_list
from bam_mm.data.checks.map_folders import check_endings, loader_key
from bam_mm.data.checks.zero_label import check_same_zero
from bam_mm.data.name_lists import read_names
from bam_mm.errors import InputError, listing
from bam_mm.launch.instance_files import check_instance_file, class_of, data_sets_of
from bam_mm.variables.entries import look_up

SCOPES = ("mmdet", "mmseg")

_FINDS_BY_ENDING = "mmseg.datasets.basesegdataset"


def check_data_folders(config: Config) -> None:
    """Check the folders and annotation files of every data set that a run needs.

    A path in ``metainfo.classes`` is replaced by the names in this file.

    Args:
        config: Config of the run. Only those of mmdet and mmseg are checked.

    Raises:
        InputError: If a folder or file does not exist, a list of classes is not UTF-8 or a text
            instead of a list, or an annotation file lacks classes of the data set.
    """
    if config.get("default_scope") not in SCOPES:
        return
    # Training does not need the test data of a config.
    parts = ("train", "val") if config.get("train_dataloader") else ("test", "bank")
    loaders = [(part, look_up(config, loader_key(part))[0] or {}) for part in parts]
    found = [(part, each) for part, loader in loaders for each in data_sets_of(loader)]
    if config.default_scope == "mmseg":
        # Also for test data, which are read by themselves after the training.
        check_same_zero(
            (part, data.get("data_root"), data.get("reduce_zero_label"))
            for part in ("train", "val", "test", "bank")
            for data in data_sets_of(look_up(config, loader_key(part))[0] or {})
            if "reduce_zero_label" in data
        )
    for part, data in found:
        if data.get("data_root") is None and not data.get("ann_file"):
            continue
        root = Path(data.get("data_root") or ".").expanduser()
        if not root.is_dir():
            raise InputError(
                f"data folder {root} of {loader_key(part)} does not exist: set yours with "
                "--cfg-options data_root=FOLDER, or create the toy world with `"
                "bam-mm toy-world FOLDER`"
            )
        prefixes = data.get("data_prefix") or {}
        for key, name in {"ann_file": data.get("ann_file"), **prefixes}.items():
            if name and not (root / name).exists():
                present = listing(sorted(e.name for e in root.iterdir()), 8) or "nothing"
                where = key if key == "ann_file" else f"data_prefix.{key}"
                raise InputError(
                    f"{root / name} does not exist ({root} has: {present}): restore it, or set "
                    f"--cfg-options {loader_key(part)}.dataset.{where}=NAME"
                )
        classes = _listed_classes(data) or _known_classes(config, data)
        ann_file = data.get("ann_file") or ""
        endings = _endings(config, data)
        if endings and prefixes.get("img_path") and not ann_file:
            maps = root / prefixes["seg_map_path"] if prefixes.get("seg_map_path") else None
            check_endings(root / prefixes["img_path"], maps, endings, part)
        if ann_file and config.default_scope == "mmdet":
            # Checked here because mmdet fails to build a data set without any known category.
            check_instance_file(config, part, data, root / ann_file, classes or ())


def _listed_classes(data: Mapping[str, Any]) -> Any:
    """Return the classes that a data set is given, and read them if they are in a file.

    mmengine would read it without an eye for byte-order marks, empty lines and encodings.
    """
    metainfo = data.get("metainfo") or {}
    classes = metainfo.get("classes")
    if not isinstance(classes, str):
        return classes
    if not os.path.isfile(classes):
        check_is_list(classes)
    names = read_names(classes)
    odd = [name for name in names if any("\udc80" <= each <= "\udcff" for each in name)]
    if odd or not names:
        fault = "is not a text in UTF-8" if odd else "is empty"
        raise InputError(
            f"metainfo.classes={classes!r} {fault}: save one name of a class on each line, in UTF-8"
        )
    metainfo["classes"] = names
    return names


def _known_classes(config: Config, data: Mapping) -> Sequence[str] | None:
    return getattr(class_of(config, data), "METAINFO", {}).get("classes")


def _endings(config: Config, data: Mapping) -> tuple[str, str] | None:
    """Return the endings by which mmseg finds images and maps, None for other data sets."""
    kind = class_of(config, data)
    if getattr(getattr(kind, "load_data_list", None), "__module__", "") != _FINDS_BY_ENDING:
        return None
    defaults = signature(kind).parameters
    found = []
    for key, usual in (("img_suffix", ".jpg"), ("seg_map_suffix", ".png")):
        default = defaults[key].default if key in defaults else usual
        found.append(data.get(key, default))
        if not isinstance(found[-1], str):
            raise InputError(
                f"dataset.{key}={found[-1]!r}: write an ending as text, as in '{usual}'"
            )
    return found[0], found[1]
