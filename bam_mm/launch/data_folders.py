"""Whether the data that a detection or segmentation config names are there at all.

mmdet and mmseg open what they are given and end in a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from bam_mm.data.checks.dense_labels import check_categories
from bam_mm.errors import InputError, listing

SCOPES = ("mmdet", "mmseg")


def check_data_folders(config: Config) -> None:
    """Look for the folders and annotation files of every data set that a run needs.

    Raises:
        InputError: If one does not exist, or an annotation file has other categories than the data
            set knows.
    """
    if config.get("default_scope") not in SCOPES:
        return
    # The test data of a config are not needed to train by it.
    for part in ("train", "val") if config.get("train_dataloader") else ("test",):
        data = (config.get(f"{part}_dataloader") or {}).get("dataset") or {}
        if data.get("data_root") is None:
            continue
        root = Path(data["data_root"]).expanduser()
        if not root.is_dir():
            raise InputError(
                f"data folder {root} of {part}_dataloader does not exist: name yours with "
                "--cfg-options data_root=FOLDER, or make the toy world with `python "
                "tools/make_toy_world.py FOLDER`"
            )
        prefixes = data.get("data_prefix") or {}
        for key, name in {"ann_file": data.get("ann_file"), **prefixes}.items():
            if name and not (root / name).exists():
                there = listing(sorted(e.name for e in root.iterdir()), 8) or "nothing"
                where = key if key == "ann_file" else f"data_prefix.{key}"
                raise InputError(
                    f"{root / name} does not exist ({root} has: {there}): restore it, or set "
                    f"--cfg-options {part}_dataloader.dataset.{where}=NAME"
                )
        classes = (data.get("metainfo") or {}).get("classes") or _known_classes(config, data)
        ann_file = data.get("ann_file") or ""
        if classes and ann_file.endswith(".json"):
            # Here already: a data set of mmdet's without one known category fails when it is built.
            check_categories(classes, str(root / ann_file), part)


def _known_classes(config: Config, data: dict) -> Sequence[str] | None:
    with DATASETS.switch_scope_and_registry(config.default_scope) as registry:
        kind = registry.get(data["type"])
    return getattr(kind, "METAINFO", {}).get("classes")
