"""Image folders: your own images, ImageNet, CIFAR as files, or the toy world."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from bam_mm.data.class_matching import READINGS
from bam_mm.data.class_names import choose_folders
from bam_mm.data.file_names import IMAGE_ENDINGS, is_hidden
from bam_mm.data.image_files import LeftOut, find_class_folders, find_images, images_directly_in
from bam_mm.data.name_lists import read_names
from bam_mm.data.seeding import EpochClock, seeded_sample
from bam_mm.data.subsets import choose_listed, choose_part, find_list
from bam_mm.errors import InputError, listing
from bam_mm.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in ``data_root/<split>/<class>/``, or in any folder without labels.

    Images may lie in subfolders, and links are followed. Hidden files and folders
    (:func:`~bam_mm.data.file_names.is_hidden`), files of other endings and dead links are left out,
    counted and logged once.

    Args:
        data_root: Folder of the data set.
        split: Subfolder of the split, such as ``train`` or ``val``.
        with_label: Whether subfolders are classes. ``auto``: they are if the split's folder has
            subfolders and no loose images.
        fallback: Whether to use ``data_root`` itself if it has neither ``train`` nor ``val``, for
            pretraining on a plain folder of images.
        subset: List of the images to keep, as a path or relative to ``data_root``, with one image
            per line. A line is ``<class>/<image>``, or the image's name alone if it is unique, as
            in SimCLR's lists of ImageNet (``n01440764_10026.JPEG``).
        part: Part of the labelled images to use: ``val`` for the ones that are held out to choose
            settings on, ``train`` for the others, None for all.
        val_fraction: Fraction of each class that is held out, in (0, 1).
        split_seed: Seed that selects the held-out images.
        extensions: Endings of the image files, in lower or upper case.
        classes: Class folders to use, in the order of their labels, or one name for each class
            folder in sorted order, or a file with one name per line. By default, labels follow the
            sorted names of all class folders.
        **kwargs: Arguments of mmpretrain's ``CustomDataset``.

    Raises:
        InputError: If a folder or the list is missing, a class is empty, a link to a class is dead,
            no image is found, ``classes`` does not fit the folders, or ``part`` or ``val_fraction``
            is wrong.
    """

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        with_label: bool | str = "auto",
        fallback: bool = False,
        subset: str | None = None,
        part: str | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        extensions: tuple[str, ...] = IMAGE_ENDINGS,
        classes: str | Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        self.clock = EpochClock()
        self.subset = subset and find_list(data_root, subset)
        self.part, self.val_fraction, self.split_seed = part, val_fraction, split_seed
        folder = find_split(data_root, split, fallback=fallback)
        if with_label == "auto":
            with_label = has_classes(folder, extensions)
        super().__init__(
            data_root=str(folder),
            with_label=with_label,
            extensions=extensions,
            classes=_read_names(classes),
            **kwargs,
        )

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Set seed and epoch, which determine a sample's random draws with its index and visit."""
        self.clock.set(seed, epoch)

    def __getitem__(self, index: int) -> dict:
        """Run the pipeline on an image, with random draws seeded for this visit of the image.

        Args:
            index: Index of the image, or a :class:`~bam_mm.data.seeding.Visit`.
        """
        with seeded_sample(self.clock, index):
            try:
                return super().__getitem__(int(index))
            except Exception as error:
                # mmengine raises exactly this class if it has no image in place of a skipped one.
                if type(error) is not Exception:
                    raise
                raise InputError(self._nothing_to_load(int(index))) from error

    def _nothing_to_load(self, index: int) -> str:
        path = self.get_data_info(index).get("img_path")
        if self.test_mode:
            return (
                f"{path} cannot be read (the log says why), and an evaluation needs every image: "
                "replace the file, or take it out of the data"
            )
        return (
            f"{path} and {self.max_refetch:,} images drawn in its place cannot be read (the log "
            "says why): restore the data set"
        )

    def _find_samples(self) -> list:
        folder = Path(self.img_prefix)
        samples, left_out = self._labelled(folder) if self.with_label else self._plain(folder)
        _report(folder, len(samples), left_out)
        if self.subset:
            samples = choose_listed(samples, self.subset, folder)
        if self.part is not None:
            if not self.with_label:
                raise InputError(
                    f"dataset.part={self.part!r}: the images of {folder} have no labels, of which "
                    "a fraction would be held out; arrange them in class folders"
                )
            samples = choose_part(
                samples, self.part, fraction=self.val_fraction, seed=self.split_seed
            )
        return samples

    def _plain(self, folder: Path) -> tuple[list, LeftOut]:
        samples, left_out = find_images(folder, self.extensions)
        if not samples:
            raise InputError(
                f"{folder} has no images ({self._known(left_out)}): set "
                "the folder of your images with --cfg-options data_root=FOLDER"
            )
        return samples, left_out

    def _labelled(self, folder: Path) -> tuple[list, LeftOut]:
        """Find (``<class>/<image>``, label) pairs, in the order of the classes and the names."""
        classes, left_out = find_class_folders(folder, self.extensions)
        if not classes:
            raise InputError(
                f"{folder} has no class folders: put the images of each class into a "
                "subfolder, or load the folder without labels (with_label=False)"
            )
        numbers = self._number(classes, folder)
        samples, empty = [], []
        for name in sorted(numbers):
            images, more = find_images(folder / name, self.extensions)
            left_out.add(more.below(name))
            samples += [(os.path.join(name, image), numbers[name]) for image in images]
            empty += [] if images else [name]
        if empty:
            raise InputError(
                f"{folder}: class folder{'s' * (len(empty) > 1)} without an image: "
                f"{listing(empty, 10)}; fill or delete "
                f"{'them' if len(empty) > 1 else 'it'} ({self._known(left_out)})"
            )
        return samples, left_out

    def _number(self, classes: list[str], folder: Path) -> dict[str, int]:
        """Return the label of each class folder, and set the names of the classes."""
        names = self._metainfo.pop("classes", None)
        if names:
            self.folder_to_idx = choose_folders(classes, names, str(folder))
        else:
            self.folder_to_idx = {name: label for label, name in enumerate(classes)}
        self._metainfo["classes"] = tuple(names or classes)
        return self.folder_to_idx

    def _known(self, left_out: LeftOut) -> str:
        known = f"known endings: {' '.join(sorted(self.extensions))}"
        return f"{known}; left out: {left_out.text()}" if left_out else known


def _report(folder: Path, count: int, left_out: LeftOut) -> None:
    """Log once what was left out, as a warning if it includes links to nowhere or in a circle."""
    if left_out and is_main_process():
        level = logging.WARNING if left_out.dead or left_out.loops else logging.INFO
        text = f"{folder}: {count:,} images; left out: {left_out.text()}"
        print_log(text, logger="current", level=level)


def find_split(data_root: str, split: str | None, *, fallback: bool = False) -> Path:
    """Find the folder of a split.

    Args:
        data_root: Folder of the data set.
        split: Name of the split; None is ``data_root`` itself.
        fallback: Whether to return ``data_root`` itself if it has neither ``train`` nor ``val``.

    Raises:
        InputError: If ``data_root`` or its split is missing.
    """
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise InputError(
            f"data folder {root} does not exist: create the toy world with `"
            "bam-mm toy-world FOLDER`, or set the folder of your images with --cfg-options "
            "data_root=FOLDER"
        )
    folder = root / (split or ".")
    if folder.is_dir():
        return folder
    if fallback and not (root / "train").is_dir() and not (root / "val").is_dir():
        return root
    present = listing(sorted(e.name for e in root.iterdir() if not is_hidden(e)), 8)
    raise InputError(
        f"data folder {root} has no subfolder {split!r} (it has: {present or 'nothing'}): arrange "
        f"it as {root}/{split}/<class>/<image>, or set dataset.split=. if it holds the class "
        "folders itself"
    )


def has_classes(folder: Path, extensions: tuple[str, ...] = IMAGE_ENDINGS) -> bool:
    """Return whether a folder has subfolders and no loose images."""
    loose, beside = images_directly_in(folder, extensions)
    if loose and beside.folders and is_main_process():
        print_log(
            f"{folder} holds images ({len(loose):,}) beside folders ({beside.folders:,}), so the "
            "folders are not taken for classes and its images have no labels",
            logger="current",
        )
    return not loose and beside.folders > 0


def _read_names(classes: str | Sequence[str] | None) -> Sequence[str] | None:
    if classes is None:
        return None
    if not isinstance(classes, str):
        # A command line makes numbers of folders such as 10.
        return [str(name) for name in classes]
    if classes in READINGS:
        raise InputError(f"dataset.classes={classes}: set --cfg-options test_cfg.classes={classes}")
    path = os.path.expanduser(classes)
    if not os.path.isfile(path):
        raise InputError(
            f"dataset.classes={classes}: there is no such file; set the names of class folders, as "
            'in dataset.classes="[cat,dog]", or a file with one name per line'
        )
    return read_names(path)
